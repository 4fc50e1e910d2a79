"""Build: map the rooms into one import package and compile the hot modules.

The rooms are top-level folders; they install as ``sherd.common``, ``sherd.shard`` and so on, and ``public/`` is the
root package ``sherd``. Cython resolves ``.pxd`` files by package path, so a tree of links ``build/pkgroot/sherd/...``
gives it the layout that an installed package has. A module is compiled because it is named in COMPILED, and a build
that cannot compile fails: there is no silent fallback to the interpreted source.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOMS = ("common", "shard", "proxy", "client", "cluster", "cli")
ROOT = Path(__file__).resolve().parent
PKGROOT = Path("build/pkgroot")

COMPILED = tuple(
    line for line in (ROOT / "compiled_modules.txt").read_text().split("\n") if line and not line.startswith("#")
)


def make_pkgroot() -> None:
    """Lay build/pkgroot/sherd out as links, so that Cython and mypy see the tree as it will be installed."""
    package = ROOT / PKGROOT / "sherd"
    package.mkdir(parents=True, exist_ok=True)
    targets = {room: ROOT / room for room in ROOMS}
    targets.update({entry.name: entry for entry in (ROOT / "public").iterdir() if entry.name != "__pycache__"})
    for name, target in targets.items():
        link = package / name
        wanted = os.path.relpath(target, package)
        if link.is_symlink() and os.readlink(link) == wanted:
            continue
        if link.is_symlink():
            link.unlink()
        link.symlink_to(wanted)


def package_names() -> list[str]:
    names = ["sherd"]
    for room in ROOMS:
        for init in sorted((ROOT / room).rglob("__init__.py")):
            names.append(".".join(("sherd", *init.parent.relative_to(ROOT).parts)))
    return names


def extensions() -> list[Extension]:
    sanitize = os.environ.get("SHERD_SANITIZE")
    flags = ["-O3", "-g0", "-fno-strict-aliasing", "-Wno-unused-function"]
    link: list[str] = []
    if sanitize:
        flags = ["-O1", "-g", f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"]
        link = [f"-fsanitize={sanitize}"]
    found = []
    # For parts of a build: only modules whose name contains one of these, separated by commas.
    only = os.environ.get("SHERD_BUILD_ONLY", "").split(",")
    for module in COMPILED:
        if not any(part in module for part in only):
            continue
        source = PKGROOT.joinpath(*module.split(".")).with_suffix(".py")
        found.append(Extension(module, [str(source)], extra_compile_args=flags, extra_link_args=link))
    return found


os.chdir(ROOT)
make_pkgroot()
setup(
    packages=package_names(),
    package_dir={"sherd": "public", **{f"sherd.{room}": room for room in ROOMS}},
    package_data={"sherd": ["py.typed"], "": ["*.md"]},
    ext_modules=cythonize(
        extensions(),
        include_path=[str(PKGROOT)],
        build_dir="build/cython",
        nthreads=int(os.environ.get("SHERD_BUILD_JOBS", "2")),
        compiler_directives={"language_level": 3, "embedsignature": True},
        annotate=bool(os.environ.get("SHERD_ANNOTATE")),
    ),
)
