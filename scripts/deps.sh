#!/bin/sh
# Finds what building, testing or benchmarking needs, and installs what is missing: by apt on Debian
# and Ubuntu; elsewhere it prints the command to type, and stops.
#
#     scripts/deps.sh build|lint|test|vm|conformance|bench
set -eu
PATH="$PATH:/usr/sbin:/sbin"

missing=
# need NAME TEST... : NAME is missing unless the test succeeds.
need() {
	name=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $name"
}
has() { command -v "$1"; }

for goal in "$@"; do
	case $goal in
	build)
		need cc has cc
		need make has make
		need clang has clang
		need pkg-config has pkg-config
		need libelf pkg-config --exists libelf
		need zlib pkg-config --exists zlib
		need libpcap pkg-config --exists libpcap
		;;
	lint)
		need clang-format has clang-format
		cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
		cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
		;;
	test)
		need ip has ip
		need ss has ss
		need setpriv has setpriv
		need setcap has setcap
		need bpftool has bpftool
		need strace has strace
		need nftables has nft
		need tshark has tshark
		;;
	vm)
		if [ "$(uname -m)" != x86_64 ] || ! has apt-get >/dev/null; then
			echo "The tests under other kernels need Debian or Ubuntu on x86_64: the kernels are Debian's." >&2
			echo "On this machine's own kernel: scripts/deps.sh build test && cargo test" >&2
			exit 1
		fi
		need qemu-system-x86 has qemu-system-x86_64
		need busybox-static dpkg -s busybox-static
		need lz4 has lz4
		need xz-utils has xz
		need zstd has zstd
		need binutils has strip
		need debian-archive-keyring [ -e /usr/share/keyrings/debian-archive-keyring.gpg ]
		;;
	conformance)
		need python3 has python3
		need g++ has g++
		need llvm has llvm-objcopy
		need zip has zip
		need procps has pidof
		;;
	bench)
		need tcpdump has tcpdump
		need nethogs has nethogs
		need iftop has iftop
		need bpftrace has bpftrace
		need strace has strace
		need libbpf-tools has syscount
		;;
	*)
		echo "usage: scripts/deps.sh build|lint|test|vm|conformance|bench" >&2
		exit 2
		;;
	esac
done

has cargo >/dev/null || {
	echo "Rust is missing: get it from https://rustup.rs or your distribution." >&2
	exit 1
}
[ -n "$missing" ] || exit 0

# The packages of one family of distributions, in the order given above.
packages() {
	for name in $missing; do
		case $1:$name in
		apt:cc) echo gcc libc6-dev ;;
		pacman:cc) echo gcc ;;
		*:cc) echo gcc glibc-devel ;;
		apt:libelf) echo libelf-dev ;;
		dnf:libelf) echo elfutils-libelf-devel ;;
		pacman:libelf) echo libelf ;;
		zypper:libelf) echo libelf-devel ;;
		apt:zlib) echo zlib1g-dev ;;
		pacman:zlib) echo zlib ;;
		*:zlib) echo zlib-devel ;;
		apt:libpcap) echo libpcap-dev ;;
		dnf:libpcap | zypper:libpcap) echo libpcap-devel ;;
		dnf:pkg-config) echo pkgconf-pkg-config ;;
		pacman:pkg-config) echo pkgconf ;;
		dnf:clang-format) echo clang-tools-extra ;;
		pacman:clang-format) echo clang ;;
		zypper:clang-format) echo clang-tools ;;
		dnf:ip | dnf:ss) echo iproute ;;
		*:ip | *:ss) echo iproute2 ;;
		*:setpriv) echo util-linux ;;
		apt:setcap) echo libcap2-bin ;;
		dnf:setcap | pacman:setcap) echo libcap ;;
		zypper:setcap) echo libcap-progs ;;
		pacman:bpftool) echo bpf ;;
		dnf:tshark) echo wireshark-cli ;;
		pacman:tshark) echo wireshark-cli ;;
		zypper:tshark) echo wireshark ;;
		*) echo "$name" ;;
		esac
	done | tr ' ' '\n' | sort -u | tr '\n' ' '
}

if ! has apt-get >/dev/null; then
	{
		echo "Missing:$missing. Install them by the line of your distribution, then go on:"
		echo "    sudo dnf install $(packages dnf)"
		echo "    sudo pacman -S $(packages pacman)"
		echo "    sudo zypper install $(packages zypper)"
	} >&2
	exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
	has sudo >/dev/null || {
		echo "Missing:$missing. As root: apt-get install $(packages apt)" >&2
		exit 1
	}
	sudo=sudo
fi
echo "installing$missing"
$sudo apt-get -qq update
# shellcheck disable=SC2046
DEBIAN_FRONTEND=noninteractive $sudo apt-get -qq -y install --no-install-recommends $(packages apt) >/dev/null
