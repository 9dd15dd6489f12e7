#!/usr/bin/env bash
# Make <arch>/vmlinux.h, the kernel's types for the BPF programs, again. They are relocated
# to the running kernel at load time, so any recent kernel of that architecture will do.
# x86_64 is made from the running kernel, aarch64 from Debian's newest one.
# Needs bpftool; for aarch64 also python3 and a Debian machine (its apt mirror and keyring).
set -euo pipefail

die() { echo "generate.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
arch=${1-}
[[ $# == 1 && $arch =~ ^(x86_64|aarch64)$ ]] || { echo "usage: generate.sh x86_64|aarch64" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Run apt-get or apt-cache on an index of our own, as an arm64 machine; this one's apt is
# left alone, and its hooks, which would act on its caches, are not run.
apt() {
    "$1" -qq -c "$work/apt.conf" -o APT::Architecture=arm64 -o APT::Sandbox::User=root \
        -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State="$work/apt" -o Dir::State::status="$work/apt/status" -o Dir::Cache="$work/apt" \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "${@:2}"
}

# The package with the newest kernel in suite $1, or nothing. Since 6.19 linux-image is
# empty and the kernel is in linux-binary. The names of the other flavours don't match.
newest_package() {
    local name='^linux-(image|binary)-([0-9][^-]*)-arm64'
    echo "deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >"$work/sources.list"
    apt apt-get update || return 0
    { apt apt-cache search --names-only "$name\$" || true; } | # it fails if it finds nothing
        sed -nE "s/($name) .*/\3 \1/p" | sort -k1,1V -k2,2r | sed -n '$s/.* //p'
}

# Write the .BTF section in kernel image $1 to $2. An image has no section headers, so
# look for BTF's own header.
extract_btf() {
    python3 - "$1" "$2" <<'PYTHON'
import struct, subprocess, sys

image = open(sys.argv[1], "rb").read()
if image[4:8] == b"zimg":  # EFI zboot: a small loader with the packed kernel inside
    start, size = struct.unpack_from("<II", image, 8)
    image = image[start : start + size]
for magic, tool in (b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"):
    if image.startswith(magic):
        image = subprocess.run([tool, "-dc"], input=image, stdout=subprocess.PIPE, check=True).stdout

btf = b""
at = -1
while (at := image.find(b"\x9f\xeb\x01\x00\x18\0\0\0", at + 1)) >= 0:  # version 1, 24 bytes long
    # The magic is in other data too; only the kernel's own types are megabytes.
    type_off, type_len, str_off, str_len = struct.unpack_from("<4I", image.ljust(at + 24, b"\0"), at + 8)
    size = 24 + max(type_off + type_len, str_off + str_len)
    if len(btf) < size <= len(image) - at:
        btf = image[at : at + size]
if not btf:
    sys.exit("generate.sh: no BTF in the kernel image")
open(sys.argv[2], "wb").write(btf)
PYTHON
}

# Unpack Debian's newest arm64 kernel and write its BTF to $1.
fetch_btf() {
    local suite package=''
    # $(SITE) is expanded by apt.
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(SITE)' | sed -nE '\,/debian/?$,p' | sed -n 1p)
    [[ $mirror ]] || die "apt has no Debian mirror"
    mkdir -p "$work"/apt/{lists,archives}/partial "$work"/{deb,kernel}
    : >"$work/apt/status"
    echo '#clear APT::Update;' >"$work/apt.conf"
    for suite in trixie-backports trixie; do
        package=$(newest_package "$suite")
        [[ -z $package ]] || break
    done
    [[ $package ]] || die "no arm64 kernel on $mirror"
    echo "generate.sh: using $package of $suite" >&2
    (cd "$work/deb" && apt apt-get download "$package")
    dpkg-deb -x "$work"/deb/*.deb "$work/kernel"
    extract_btf "$(find "$work/kernel" -type f -name 'vmlinuz*')" "$1"
}

btf=$work/btf
case $arch in
    x86_64)
        [[ $(uname -m) == "$arch" ]] || die "this kernel's types are not those of $arch"
        btf=/sys/kernel/btf/vmlinux
        ;;
    aarch64) fetch_btf "$btf" ;;
esac
# Not straight to the header: the old one stays if this fails.
bpftool btf dump file "$btf" format c >"$work/vmlinux.h"
mkdir -p "$here/$arch"
mv "$work/vmlinux.h" "$here/$arch/vmlinux.h"
