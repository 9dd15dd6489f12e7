//! Screens from handmade samples, and what keys do to the state: no kernel, no terminal.

mod behaviour;
mod fixtures;
#[path = "../../../tests/support/rows.rs"]
mod rows;
mod screens;
