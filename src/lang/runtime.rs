//! A compiled program in the kernel: loaded, attached, listened to until it ends.
//!
//! All goes by bpf(2) directly, without an ELF object between: that takes a millisecond. Programs, maps and links are held
//! by descriptors alone, so that nothing stays behind however nettrace ends.
//!
//! | file | what |
//! | --- | --- |
//! | `sys` | bpf(2) |
//! | `maps` | the program's maps |
//! | `link` | a probe with its functions becomes one program |
//! | `sessions` | a kprobe and a kretprobe become one program |
//! | `btf` | its types: names of functions and lines of source |
//! | `load`, `verifier` | into the kernel, and what it says to that |
//! | `attach` | to its places |
//! | `ring` | messages |
//! | `run` | the loop |
//! | `trials` | tests and benchmarks in the language |

mod attach;
mod btf;
mod link;
mod load;
mod maps;
mod ring;
mod run;
mod sessions;
mod sys;
mod trials;
mod verifier;

pub use load::{LoadOptions, Without};
pub use maps::{MapError, MapOptions};
pub use run::{Mode, Options, RunError, run};
