//! Compiles each `src/bpf/<probe>.bpf.c`, and what tests have, with clang into `OUT_DIR/<probe>.skel.rs`, and
//! lists in `OUT_DIR/kernel_types.rs` which types of the kernel these objects are relocated by.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use libbpf_cargo::SkeletonBuilder;
use object::{Object, ObjectSection};

#[path = "src/btf/layout.rs"]
mod layout;

const BPF_DIR: &str = "src/bpf";
const TESTS_DIR: &str = "tests/bpf";

fn main() -> Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let vmlinux = Path::new("vmlinux").join(&arch);
    println!("cargo:rerun-if-changed={BPF_DIR}");
    println!("cargo:rerun-if-changed={TESTS_DIR}");
    println!("cargo:rerun-if-changed={}", vmlinux.display());

    let mut types = BTreeSet::new();
    for entry in Path::new(BPF_DIR).read_dir()?.chain(Path::new(TESTS_DIR).read_dir()?) {
        let source = entry?.path();
        let name = source.file_name().and_then(OsStr::to_str).unwrap_or("");
        let Some(probe) = name.strip_suffix(".bpf.c") else {
            continue;
        };
        let object = out.join(format!("{probe}.bpf.o"));
        SkeletonBuilder::new()
            .source(&source)
            .obj(&object)
            .reference_obj(true)
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
        let names = relocated_by(&std::fs::read(&object)?);
        types.extend(names.with_context(|| format!("read the BTF of {}", object.display()))?);
    }
    std::fs::write(out.join("kernel_types.rs"), format!("{:?}", Vec::from_iter(types)))?;
    link_libpcap();
    Ok(())
}

/// The types that relocations begin at (`struct bpf_core_relo`), without their flavors.
fn relocated_by(elf: &[u8]) -> Option<BTreeSet<String>> {
    let file = object::File::parse(elf).ok()?;
    let section = |name| file.section_by_name(name)?.data().ok();
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..)?.first_chunk().map(|word| u32::from_le_bytes(*word) as usize)
    };
    let (btf, ext) = (section(".BTF")?, section(".BTF.ext")?);
    let header = word(btf, 4)?;
    let types = btf.get(header + word(btf, 8)?..)?.get(..word(btf, 12)?)?;
    let strings = btf.get(header + word(btf, 16)?..)?;
    let mut names = vec![""];
    let mut at = 0;
    while at < types.len() {
        let name = strings.get(word(types, at)?..)?.split(|byte| *byte == 0).next()?;
        names.push(std::str::from_utf8(name).ok()?);
        at += layout::TYPE + layout::extra(word(types, at + 4)? as u32);
    }
    let mut found = BTreeSet::new();
    let relocations = ext.get(word(ext, 4)? + word(ext, 24)?..)?.get(..word(ext, 28)?)?;
    let record = if relocations.is_empty() { 0 } else { word(relocations, 0)? };
    let mut at = 4;
    // Of each section: its name, how many, and those.
    while at < relocations.len() {
        let count = word(relocations, at + 4)?;
        at += 8;
        for _ in 0..count {
            let name = names.get(word(relocations, at + 4)?)?;
            found.insert(name.split("___").next()?.to_owned());
            at += record;
        }
    }
    Some(found)
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
