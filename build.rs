//! Compiles each `src/bpf/<probe>.bpf.c`, and what tests have, with clang into `OUT_DIR/<probe>.skel.rs`.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;

const BPF_DIR: &str = "src/bpf";
const TESTS_DIR: &str = "tests/bpf";

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let vmlinux = Path::new("vmlinux").join(&arch);
    println!("cargo:rerun-if-changed={BPF_DIR}");
    println!("cargo:rerun-if-changed={TESTS_DIR}");
    println!("cargo:rerun-if-changed={}", vmlinux.display());

    for entry in Path::new(BPF_DIR).read_dir()?.chain(Path::new(TESTS_DIR).read_dir()?) {
        let source = entry?.path();
        let name = source.file_name().and_then(OsStr::to_str).unwrap_or("");
        let Some(probe) = name.strip_suffix(".bpf.c") else {
            continue;
        };
        SkeletonBuilder::new()
            .source(&source)
            .clang_args([
                OsStr::new("-I"),
                vmlinux.as_os_str(),
                OsStr::new("-I"),
                OsStr::new(BPF_DIR),
                // Version 3 of the instruction set has the atomics that return a value.
                OsStr::new("-mcpu=v3"),
                // Since 6.19 kernel structs have unnamed members of named types.
                OsStr::new("-fms-extensions"),
                OsStr::new("-Wall"),
                OsStr::new("-Wno-microsoft-anon-tag"),
                OsStr::new("-Werror"),
            ])
            .build_and_generate(out.join(format!("{probe}.skel.rs")))
            .with_context(|| format!("compile {} (is clang installed?)", source.display()))?;
    }
    link_libpcap();
    Ok(())
}

/// Statically where that can be had, so that nettrace runs where libpcap isn't installed. `LIBPCAP_LIBDIR`
/// is where it is for another architecture.
fn link_libpcap() {
    println!("cargo:rerun-if-env-changed=LIBPCAP_LIBDIR");
    let folder = env::var("LIBPCAP_LIBDIR").ok();
    let folder = folder.or_else(|| pkg_config::get_variable("libpcap", "libdir").ok());
    if let Some(folder) = &folder {
        println!("cargo:rustc-link-search=native={folder}");
    }
    let is_static = folder.is_some_and(|folder| Path::new(&folder).join("libpcap.a").exists());
    println!("cargo:rustc-link-lib={}=pcap", if is_static { "static:-bundle" } else { "dylib" });
}
