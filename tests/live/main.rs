//! Live tests: the real binary against this kernel, as root, in network namespaces of their own, and
//! compared with the truth from outside of nettrace. They never skip.

#[path = "../support/mod.rs"]
mod support;

mod behaviour;
mod exact;
mod ss;
