//! `--info`: what this kernel can do, in the words that scripts look for.

use std::fmt::Write;

use super::LIKE;
use crate::lang::ktypes::KernelTypes;

/// Columns of the first entry of a line.
const WIDTH: usize = 35;

/// All of it.
pub(super) fn text() -> String {
    let types = KernelTypes::new();
    let btf = types.btf();
    let has = |name: &str| btf.is_some_and(|btf| btf.find_function(name).is_some());
    let system = nix::sys::utsname::uname();
    let words = |word: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
        system
            .as_ref()
            .map(|system| word(system).to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let mut text = format!(
        "System\n  OS: {} {} {}\n  Arch: {}\n\n",
        words(|of| of.sysname()),
        words(|of| of.release()),
        words(|of| of.version()),
        words(|of| of.machine())
    );
    // Writing to a string can't fail.
    _ = write!(
        text,
        "Build\n  version: {LIKE} (nettrace {})\n  LLVM: not needed\n  bfd: no\n  \
         libdw (DWARF support): yes\n  libsystemd (systemd notify support): no\n  \
         blazesym (advanced symbolization): yes\n  dwunwind (DWARF stack unwinding): no\n\n",
        env!("CARGO_PKG_VERSION")
    );
    section(
        &mut text,
        "Kernel helpers",
        &[
            ("dpath", has("bpf_d_path")),
            ("get_tai_ns", has("bpf_ktime_get_tai_ns")),
            ("get_func_ip", has("bpf_get_func_ip_kprobe")),
            ("lookup_percpu_elem", has("bpf_map_lookup_percpu_elem")),
            ("loop", has("bpf_loop")),
            ("get_ktime_ns", has("bpf_ktime_get_ns")),
            ("probe_read_kernel", has("bpf_probe_read_kernel")),
            ("send_signal", has("bpf_send_signal")),
            ("jiffies64", has("bpf_jiffies64")),
        ],
    );
    section(
        &mut text,
        "Kernel features",
        &[
            ("btf", btf.is_some()),
            ("module btf", has("btf_module_notify")),
            // In the words of older versions, for scripts that still look for them.
            ("Loop support", true),
            ("bcc library path resolution", true),
        ],
    );
    // Sessions came with a constant for them, and are made of the same.
    let has_kprobe_multi = has("register_fprobe_ips");
    let has_session =
        btf.is_some_and(|btf| btf.find_constant("BPF_TRACE_KPROBE_SESSION").is_some());
    section(
        &mut text,
        "Probe types",
        &[
            ("kprobe_multi", has_kprobe_multi),
            ("uprobe_multi", has("bpf_uprobe_multi_link_attach")),
            ("kprobe_session", has_kprobe_multi && has_session),
            ("iter", btf.is_some_and(|btf| btf.find_struct("bpf_iter__task").is_some())),
        ],
    );
    text
}

/// Two entries a line.
fn section(text: &mut String, title: &str, entries: &[(&str, bool)]) {
    let shown = |(name, is): &(&str, bool)| format!("{name}: {}", if *is { "yes" } else { "no" });
    _ = writeln!(text, "{title}");
    for pair in entries.chunks(2) {
        let words: Vec<String> = pair.iter().map(shown).collect();
        _ = match words.as_slice() {
            [first, second] => writeln!(text, "{:<WIDTH$}{second}", format!("  {first}")),
            rest => writeln!(text, "  {}", rest.concat()),
        };
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #[test]
    fn entries_are_on_lines() {
        let mut text = String::new();
        super::section(&mut text, "T", &[("a", true), ("b", false), ("c", true)]);
        assert_eq!(text, "T\n  a: yes                           b: no\n  c: yes\n\n");
    }
}
