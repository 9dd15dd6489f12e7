"""Runs cases of the suite in a guest, under a kernel that has what this machine's lacks."""

import encodings
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
BOOT = HERE.parent / "vm/boot"

# What cases call, where busybox has less to offer, or nothing.
PROGRAMS = ["/bin/bash", "bpftool", "ip", "nft", "nsenter", "ps", "taskset", "unshare"]

# What cases only run with.
MODULES = ["nf_tables"]

# An emulated CPU is so many times slower, at least.
SLOWNESS = 8


def run(kernel, cases, folder, nettrace):
    """What became of the cases of these names; what they printed is in folder/guest-KERNEL.log."""
    archive, names, log = folder / "guest.tar", folder / "guest.names", folder / f"guest-{kernel}.log"
    names.write_text("".join(f"{name}\n" for name in cases))
    modules = python_files()
    with tarfile.open(archive, "w") as tar:
        for file in sorted({HERE, folder / "tests", names} | modules):
            tar.add(file)
    python = Path(sys.executable).resolve()
    # These bring libraries of their own, as programs do.
    linked = [file for file in modules if file.suffix == ".so"]
    files = [f"{nettrace}:{folder}/bpftrace", archive, python, *linked, *filter(shutil.which, PROGRAMS)]
    inside = f"tar -xf {archive} -C / && rm {archive} && exec {python} -S {HERE}/conformance {folder} --inside"
    command = [BOOT, "--kernel", kernel, "--timeout", str(120 + 60 * len(cases))]
    command += [part for file in files for part in ("--file", file)]
    with open(log, "w") as out:
        subprocess.run([*command, "--", "sh", "-c", inside], stdout=out, stderr=subprocess.STDOUT, check=False)
    found = re.findall(r"^case (passed|failed|skipped) (.*?)\r?$", log.read_text(errors="replace"), re.M)
    outcomes = {name: became for became, name in found}
    if len(outcomes) != len(cases):
        sys.exit(f"the guest ran {len(outcomes)} of {len(cases)} cases: {log}")
    return outcomes


def python_files():
    """The modules of this Python that are in use, and all its encodings."""
    files = set(Path(encodings.__file__).parent.glob("*.py"))
    for module in list(sys.modules.values()):
        files |= {Path(file) for name in ("__file__", "__cached__") if (file := getattr(module, name, None))}
    return {file for file in files if file.is_relative_to(sys.base_prefix) and file.exists()}
