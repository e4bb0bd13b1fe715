"""Holds the licences of all that is installed with imagewave against those that we take. Run:

    python tools/licences.py

It looks at what `imagewave[all]` needs, as it is installed beside this interpreter, and ends with 1
where a package has none of these licences or says none.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Each of these lets us ship the package, unchanged, beside code under Apache-2.0.
TAKEN = re.compile(
    r"MIT(-0|-CMU)?|0?BSD(-[23]-Clause)?|[23]-clause BSD|Apache(-2\.0)?|ISC|PSF-2\.0|Zlib|CC0-1\.0"
    r"|CNRI-Python|MPL-2\.0|Unlicense"
    r"|(MIT|BSD|ISC|Apache Software|Python Software Foundation) License( \(ISCL\))?"
    r"|Apache (License )?2\.0|Mozilla Public License 2\.0 \(MPL 2\.0\)|The Unlicense \(Unlicense\)",
    re.IGNORECASE,
)

EXCEPTIONS = {
    "text-unidecode": "the Artistic License or the GPL, as the user chooses: we choose the first",
}
"""Packages that we take all the same, and why."""


def needed(name: str, extras: frozenset[str] = frozenset()) -> dict[str, Distribution]:
    """Every distribution that this one needs, by its plain name.

    Raises PackageNotFoundError where one is not installed: what it is like is not known.
    """
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, frozenset[str]]] = set()

    def visit(name: str, extras: frozenset[str]) -> None:
        if (name, extras) in asked:
            return
        asked.add((name, extras))
        found[name] = distribution(name)
        for text in found[name].requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": each}) for each in {"", *extras}):
                visit(canonicalize_name(requirement.name), frozenset(requirement.extras))

    visit(canonicalize_name(name), extras)
    return found


def licences(package: Distribution) -> list[str]:
    """The licences that a package names: its expression's, else its classifiers', else its text."""
    metadata = package.metadata.json
    if expression := str(metadata.get("license_expression", "")):
        return re.findall(r"[\w.-]+", re.sub(r"\b(AND|OR|WITH)\b|[()]", " ", expression))
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in metadata.get("classifier", ())
        if each.startswith("License :: ") and each != "License :: OSI Approved"
    ]
    text = str(metadata.get("license", "")).strip().partition("\n")[0]
    return classifiers or ([text] if text else [])


def faults() -> Iterator[str]:
    """What is wrong, a line a package."""
    for name, package in sorted(needed("imagewave", frozenset({"all"})).items()):
        named = licences(package)
        strange = [each for each in named if not TAKEN.fullmatch(each)]
        if name not in EXCEPTIONS and (strange or not named):
            yield f"{name} {package.version}: {', '.join(strange) or 'names no licence'}"


if __name__ == "__main__":
    wrong = list(faults())
    for line in wrong:
        print(line)
    print("Agree to these in tools/licences.py, or do without them." if wrong else "all taken")
    sys.exit(bool(wrong))
