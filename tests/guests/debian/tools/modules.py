"""Which modules of a kernel package a list of names needs, in the order in which they load."""

import pathlib
import shutil
import sys


def _field(module: bytes, name: str) -> list[str]:
    """The values of one field of a module's .modinfo section (NUL-terminated name=value)."""
    start = ("\0" + name + "=").encode()
    values = []
    at = module.find(start)
    while at >= 0:
        at += len(start)
        values.append(module[at : module.index(b"\0", at)].decode("ascii", "replace"))
        at = module.find(start, at)
    return values


class Modules:
    """The modules below lib/modules/VERSION/kernel; names are those of modprobe, with underscores."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.paths = {path.stem.replace("-", "_"): path for path in sorted(folder.glob("kernel/**/*.ko"))}
        built_in = (folder / "modules.builtin").read_text().split()
        self.built_in = {pathlib.PurePath(path).stem.replace("-", "_") for path in built_in}

    def closure(self, names: list[str]) -> list[pathlib.Path]:
        """The named modules after everything that they depend on; softdeps count as far as the kernel has them."""
        order: list[pathlib.Path] = []
        visited: set[str] = set()

        def visit(name: str, required: bool) -> None:
            name = name.replace("-", "_")
            if name in visited or name in self.built_in:
                return
            visited.add(name)
            if name not in self.paths:
                if required:
                    raise SystemExit(f"the kernel has no module {name}")
                return
            module = self.paths[name].read_bytes()
            for needed in ",".join(_field(module, "depends")).split(","):
                if needed:
                    visit(needed, True)
            for line in _field(module, "softdep"):
                when, _, soft = line.partition(": ")
                if when == "pre":
                    for needed in soft.split():
                        visit(needed, False)
            order.append(self.paths[name])

        for name in names:
            visit(name, True)
        return order


def main(command: str, folder: str, target: str, *names: str) -> None:
    """`modules.py copy lib/modules/VERSION TARGET NAME...`: the named modules and their needs, at the same places."""
    if command != "copy":
        raise SystemExit("usage: modules.py copy FOLDER TARGET NAME...")
    source, copy = pathlib.Path(folder), pathlib.Path(target)
    for path in Modules(source).closure(list(names)):
        to = copy / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copyfile(source / name, copy / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
