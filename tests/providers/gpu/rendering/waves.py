"""A tiny model on your GPUs, and a wave that is drawn by it."""

MODELS = """
[pixels.small]
"1:1" = {{ S = [64, 64], L = [128, 128] }}

[[model]]
id = "tiny-flux"
provider = "self"
kind = "image"
lanes = ["gpu"]
sizes = ["S", "L"]
default_size = "S"
ratios = ["1:1"]
pixels = "small"
reference_limit = 1
weights = "{weights}"
steps = 2
guidance = 0.0
gpu_seconds = {{ S = 1, L = 4 }}
"""
WAVE = """
[wave]
name = "own"
lane = "gpu"
[budget]
wave_usd = 1
[wait]
poll_seconds = [0.2, 0.5]
[draft]
model = "tiny-flux"
probe = 2
max_rounds = 1
[judge]
enabled = false
[screen]
min_brightness = 0
max_brightness = 1
min_contrast = 0
min_blur = 0
min_entropy = 0
max_border = 1
max_cast = 1
duplicate_distance = 0
[final]
model = "tiny-flux"
carry = "seed"
size = "L"
strength = 0.5
[[brief]]
id = "tulips"
text = "red tulips"
want = 2
[[brief]]
id = "ferry"
text = "a ferry in fog"
"""
