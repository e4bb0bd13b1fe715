"""What the sandbox answers: pictures, words and judgements, sound or spoiled."""
