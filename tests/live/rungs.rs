//! By which rung each datum is had on this kernel.

use serde_json::Value;

use crate::support::{keep_result, nettrace, text};

#[test]
fn what_is_switched_off_is_not_used() {
    let output = nettrace().args(["doctor", "-O", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let switched_off = std::env::var("NETTRACE_WITHOUT").unwrap_or_default();
    let lines = document["hooks"].as_array().unwrap().iter().map(|hook| {
        let rung = hook["rung"].as_str().unwrap_or("");
        assert!(rung.is_empty() || switched_off.split(',').all(|off| off != rung), "{hook}");
        format!("{},{rung}\n", hook["datum"].as_str().unwrap())
    });
    keep_result("rungs.csv", &lines.collect::<String>());
}
