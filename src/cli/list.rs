//! Arguments of `list`.

use clap::Args;

/// Arguments of `list`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    override_usage = "nettrace list [OPTIONS] [PATTERN]...",
    after_help = "A pattern is PROVIDER:WORDS, with * for anything, or words of any of the kernel's providers, or a type.

Examples:
  nettrace list 'tracepoint:syscalls:sys_enter_*'
  nettrace list -a 'fentry:tcp_*'     with their arguments
  nettrace list '*sched_switch*'      of all providers
  nettrace list -a 'struct sock'      its fields
  nettrace list 'uprobe:/bin/bash:*'
  nettrace list 'fentry:bpf:*'        functions of BPF programs that are loaded"
)]
pub struct ListArgs {
    /// What is listed; all of the kernel's probes if nothing is said
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,
    /// Files of this process too
    #[arg(short, long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Arguments of probes and fields of types too (-v does the same)
    #[arg(short, long)]
    pub arguments: bool,
}
