//! Results of `test` and `bench` probes.

use std::fmt::Write;
use std::time::Duration;

use super::{Format, json};

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// A test.
    Test {
        /// Whether it returned 0.
        passed: bool,
        /// How long it took.
        took: Duration,
        /// What it printed.
        output: String,
    },
    /// A benchmark.
    Bench {
        /// How long it took in the mean.
        average: Duration,
        /// How often it ran.
        iterations: u64,
    },
}

/// The probes of a run, and what is written of each as it is done.
#[derive(Clone, Debug)]
pub struct Trials {
    names: Vec<String>,
    done: Vec<Trial>,
    format: Format,
}

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

impl Trials {
    /// Those that are to run, by their names.
    pub fn new(names: Vec<String>, format: Format) -> Self {
        Self { names, done: Vec::new(), format }
    }

    /// What is written of the next one; of the last, a summary too.
    pub fn next(&mut self, trial: Trial) -> String {
        let at = self.done.len();
        let name = self.names.get(at).cloned().unwrap_or_default();
        self.done.push(trial.clone());
        match self.format {
            Format::Json => json_line(&name, &trial),
            Format::Text => match trial {
                Trial::Test { passed, took, output } => self.test(at, &name, passed, took, &output),
                Trial::Bench { average, iterations } => self.bench(at, &name, average, iterations),
            },
        }
    }

    fn test(&self, at: usize, name: &str, passed: bool, took: Duration, output: &str) -> String {
        let count = self.names.len();
        let mut text = String::new();
        // Writing to a string can't fail.
        if at == 0 {
            _ = writeln!(text, "{GREEN}[==========]{PLAIN} Running {count} tests.");
        }
        _ = writeln!(text, "{GREEN}[ RUN      ]{PLAIN} {name}");
        let (amount, unit) = duration(took);
        if passed {
            _ = writeln!(text, "{GREEN}[       OK ]{PLAIN} {name} ({amount} {unit})");
        } else {
            for line in output.lines().filter(|line| !line.is_empty()) {
                _ = writeln!(text, "{line}");
            }
            _ = writeln!(text, "{RED}[  FAILED  ]{PLAIN} {name} ({amount} {unit})");
        }
        if at + 1 == count {
            self.summary(&mut text);
        }
        text
    }

    fn summary(&self, text: &mut String) {
        let tests = |count: usize| format!("{count} {}", if count == 1 { "test" } else { "tests" });
        let names = self.names.iter().zip(&self.done);
        let failed: Vec<&String> = names
            .filter(|(_, trial)| matches!(trial, Trial::Test { passed: false, .. }))
            .map(|(name, _)| name)
            .collect();
        let count = self.names.len();
        _ = writeln!(text, "{GREEN}[==========]{PLAIN} {} ran.", tests(count));
        _ = writeln!(text, "{GREEN}[  PASSED  ]{PLAIN} {}.", tests(count - failed.len()));
        if !failed.is_empty() {
            let all = tests(failed.len());
            _ = writeln!(text, "{RED}[  FAILED  ]{PLAIN} {all}, listed below:");
        }
        for name in failed {
            _ = writeln!(text, "{RED}[  FAILED  ]{PLAIN} {name}");
        }
    }

    fn bench(&self, at: usize, name: &str, average: Duration, iterations: u64) -> String {
        const TIME: usize = 15;

        let width = self.names.iter().map(String::len).max().unwrap_or_default().max(40) + 1;
        let mut text = String::new();
        if at == 0 {
            _ = writeln!(text, "{:<width$}{:<TIME$}Iterations", "Benchmark", "Time(ns)");
            _ = writeln!(text, "{}", "-".repeat(width + TIME + "Iterations".len()));
        }
        _ = writeln!(text, "{name:<width$}{:<TIME$}{iterations}", average.as_nanos());
        text
    }
}

fn json_line(name: &str, trial: &Trial) -> String {
    let quoted = |text: &str| {
        let mut to = Vec::new();
        json::string(text.as_bytes(), &mut to);
        String::from_utf8_lossy(&to).into_owned()
    };
    let name = quoted(name);
    match trial {
        Trial::Test { passed, took, output } => format!(
            "{{\"type\": \"test_result\", \"data\": {{{name}: {{\"duration\": {}, \"passed\": \
             {passed}, \"output\": {}}}}}}}\n",
            took.as_nanos(),
            quoted(output)
        ),
        Trial::Bench { average, iterations } => format!(
            "{{\"type\": \"benchmark_result\", \"data\": {{{name}: {{\"average\": {}, \"iters\": \
             {iterations}}}}}}}\n",
            average.as_nanos()
        ),
    }
}

/// In the largest unit of which there is one, and that unit.
fn duration(of: Duration) -> (u128, &'static str) {
    let ns = of.as_nanos();
    match ns {
        1_000_000_000.. => (ns / 1_000_000_000, "s"),
        1_000_000.. => (ns / 1_000_000, "ms"),
        1_000.. => (ns / 1_000, "μs"),
        _ => (ns, "ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(passed: bool, output: &str) -> Trial {
        Trial::Test { passed, took: Duration::from_micros(1500), output: output.to_owned() }
    }

    fn plain(text: &str) -> String {
        [GREEN, RED, PLAIN].iter().fold(text.to_owned(), |text, color| text.replace(color, ""))
    }

    #[test]
    fn tests_are_told() {
        let mut trials = Trials::new(vec!["a".to_owned(), "b".to_owned()], Format::Text);
        let first = plain(&trials.next(test(true, "hidden\n")));
        assert_eq!(first, "[==========] Running 2 tests.\n[ RUN      ] a\n[       OK ] a (1 ms)\n");
        let second = plain(&trials.next(test(false, "\nwhy\n")));
        assert_eq!(
            second,
            "[ RUN      ] b\nwhy\n[  FAILED  ] b (1 ms)\n[==========] 2 tests ran.\n\
             [  PASSED  ] 1 test.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] b\n"
        );
        let mut trials = Trials::new(vec!["a".to_owned()], Format::Json);
        assert_eq!(
            trials.next(test(true, "x\n")),
            "{\"type\": \"test_result\", \"data\": {\"a\": {\"duration\": 1500000, \
             \"passed\": true, \"output\": \"x\\n\"}}}\n"
        );
    }

    #[test]
    fn benchmarks_are_a_table() {
        let mut trials = Trials::new(vec!["a".to_owned(), "b".to_owned()], Format::Text);
        let bench = Trial::Bench { average: Duration::from_nanos(123), iterations: 1000 };
        let first = trials.next(bench.clone());
        let lines: Vec<&str> = first.lines().collect();
        assert_eq!(lines[0].find("Time(ns)"), Some(41));
        assert_eq!(lines[1], "-".repeat(66));
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["a", "123", "1000"]);
        assert_eq!(trials.next(bench).lines().count(), 1);
    }
}
