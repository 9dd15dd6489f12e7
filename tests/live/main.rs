//! Live tests: the real binary against this kernel, as root, in network namespaces of their own, and
//! compared with the truth from outside of nettrace. They never skip.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/mod.rs"]
mod support;

mod behaviour;
mod capture;
mod drops;
mod events;
mod exact;
mod filter;
mod flows;
mod frames;
mod lockdown;
mod path;
mod privileges;
mod run;
mod rungs;
mod ss;
mod syscalls;
mod verifier;
mod xdp;
