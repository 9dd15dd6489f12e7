//! `test` and `bench` probes: run by the kernel as often as is asked, which says how long they took.

use std::cell::RefCell;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use super::run::{Mode, Run, RunError};
use super::sys::{self, Runs};
use crate::lang::config::Config;
use crate::lang::output::{Format, Output, OutputOptions, Trial, Trials};
use crate::lang::probe::Probe as Place;
use crate::lang::source::Sources;

/// A benchmark that takes less altogether is run more often.
const LONG_ENOUGH_NS: u64 = 1_000_000;
/// More is never asked for: it would take hours.
const MOST_TIMES: u32 = 1_000_000_000;

/// What trials need to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrialOptions<'a> {
    pub(super) config: &'a Config,
    pub(super) sources: &'a Sources,
    pub(super) format: Format,
}

/// What a test prints, until it is known whether anybody wants it.
#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Run<'_, '_> {
    /// Runs all probes of that kind and tells what came of them; the exit status.
    pub(super) fn try_out(
        mut self,
        mode: Mode,
        options: &TrialOptions<'_>,
    ) -> Result<i32, RunError> {
        self.drain()?;
        let program = self.program;
        let wanted = self.loaded.iter().filter_map(|loaded| {
            match (mode, program.probes[loaded.probe].attach.first()?.probe.as_ref()?) {
                (Mode::Test, Place::Test(name)) | (Mode::Bench, Place::Bench(name)) => {
                    Some((name.to_string(), loaded.fd.as_fd()))
                }
                _ => None,
            }
        });
        let (names, programs): (Vec<String>, Vec<BorrowedFd<'_>>) = wanted.unzip();
        let mut trials = Trials::new(names.clone(), options.format);
        let mut status = 0;
        for (name, program) in names.iter().zip(programs) {
            let trial = match mode {
                Mode::Test => Some(self.test(program, options)?),
                _ => self.measure(program)?,
            };
            match &trial {
                Some(Trial::Test { passed: false, .. }) => status = 1,
                Some(_) => {}
                None => {
                    status = 1;
                    eprintln!("ERROR: Benchmark '{name}' failed.");
                }
            }
            if let Some(trial) = trial {
                let said = trials.next(trial);
                self.output.say(&said)?;
            }
        }
        self.fire(|place| matches!(place, Place::End))?;
        self.drain()?;
        self.output.flush()?;
        Ok(status)
    }

    fn test(
        &mut self,
        program: BorrowedFd<'_>,
        options: &TrialOptions<'_>,
    ) -> Result<Trial, RunError> {
        let Runs { returned, ns } = sys::test_runs(program, 1)?;
        let (said, errors) = (Kept::default(), Kept::default());
        let all = self.program;
        let (config, sources) = (options.config, options.sources);
        let to = Box::new(said.clone());
        let mut output = Output::new(all, config, sources, OutputOptions::default(), to)
            .with_errors(Box::new(errors.clone()));
        self.drain_into(&mut output)?;
        drop(output);
        let text = |kept: &Kept| String::from_utf8_lossy(&kept.0.borrow()).into_owned();
        let (said, errors) = (text(&said), text(&errors));
        let is_left_well = self.status.take().is_none_or(|code| code == 0);
        Ok(Trial::Test {
            passed: returned == 0 && is_left_well && !errors.contains("ERROR"),
            took: Duration::from_nanos(ns.into()),
            output: said + &errors,
        })
    }

    /// How long a run takes; none if it failed. What it says is of no interest.
    fn measure(&mut self, program: BorrowedFd<'_>) -> Result<Option<Trial>, RunError> {
        let mut times: u32 = 1;
        loop {
            let Runs { returned, ns } = sys::test_runs(program, times)?;
            if let Some(ring) = &mut self.ring {
                ring.drain(|_| Ok::<bool, io::Error>(true))?;
            }
            if returned != 0 {
                return Ok(None);
            }
            let total = u64::from(ns) * u64::from(times);
            if total >= LONG_ENOUGH_NS || times >= MOST_TIMES {
                let (average, iterations) = (Duration::from_nanos(ns.into()), times.into());
                return Ok(Some(Trial::Bench { average, iterations }));
            }
            times = times.saturating_mul(more(total)).min(MOST_TIMES);
        }
    }
}

/// How many times more often what took so long is to be run.
fn more(total_ns: u64) -> u32 {
    match total_ns {
        0..1_000 => 1000,
        1_000..10_000 => 100,
        10_000..100_000 => 10,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_run_more_often() {
        assert_eq!([0, 999, 1_000, 50_000, 400_000].map(more), [1000, 1000, 100, 10, 2]);
    }
}
