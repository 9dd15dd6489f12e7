//! Names for numbers: users, containers, hosts, network namespaces, system calls, drop reasons, and
//! whether a process lives.
//! Whatever may block (users by LDAP, hosts by DNS) is asked on a thread of its own; the caller
//! gets what is known so far.

mod cgroups;
pub mod reasons;
pub mod syscalls;

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid, User};

use cgroups::Cgroups;
pub use cgroups::{Container, all_cgroups, container_of, has_cgroup, has_old_cgroups};

use crate::netns;
use crate::sample::ProcessRecord;

/// Questions that may wait for an answer; above it they are asked again in the next tick.
const PENDING: usize = 1024;
/// Hosts remembered; above it all are forgotten and asked anew.
const HOSTS: usize = 65_536;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Question {
    User(u32),
    Host(IpAddr),
}

/// The name tables and the thread that fills them.
#[derive(Debug)]
pub struct Names {
    /// An answer of `None` is final: there is no such name.
    known: HashMap<Question, Option<Arc<str>>>,
    hosts: usize,
    ask: Option<SyncSender<Question>>,
    answers: Option<Receiver<(Question, Option<String>)>>,
    waiting: usize,
    cgroups: Cgroups,
}

impl Names {
    /// Tables that look up users, and hosts if `resolve`; nothing at all with `numeric`.
    pub fn new(numeric: bool) -> Self {
        let mut names = Names {
            known: HashMap::new(),
            hosts: 0,
            ask: None,
            answers: None,
            waiting: 0,
            cgroups: Cgroups::default(),
        };
        if !numeric {
            names.start();
        }
        names
    }

    fn start(&mut self) {
        let (ask, questions) = sync_channel::<Question>(PENDING);
        let (answer, answers) = sync_channel(PENDING);
        // Not joined: a look-up may hang for as long as the resolver's time-out, and the process
        // shouldn't. The thread holds nothing that needs an end.
        let thread = thread::Builder::new().name("names".to_owned()).spawn(move || {
            for question in questions {
                if answer.send((question, look_up(question))).is_err() {
                    return;
                }
            }
        });
        if thread.is_ok() {
            self.ask = Some(ask);
            self.answers = Some(answers);
        }
    }

    /// The name of a user, its number if it has none; nothing while that is being looked up.
    pub fn user(&mut self, uid: u32) -> Option<Arc<str>> {
        self.get(Question::User(uid))
    }

    /// The name of a host, if it has one and it is known by now.
    pub fn host(&mut self, address: IpAddr) -> Option<Arc<str>> {
        self.get(Question::Host(address))
    }

    /// Waits until what was asked is answered, but no longer than `patience`.
    pub fn settle(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.waiting > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(Ok(answer)) = self.answers.as_ref().map(|a| a.recv_timeout(left)) else {
                return;
            };
            self.learn(answer);
        }
    }

    /// The container or unit of a process, by its cgroup.
    pub fn container(&mut self, process: &ProcessRecord) -> Option<Arc<Container>> {
        self.cgroups.container(process)
    }

    /// The path of a process's cgroup in the unified hierarchy.
    pub fn cgroup(&mut self, process: &ProcessRecord) -> Option<Arc<str>> {
        self.cgroups.path(process)
    }

    fn get(&mut self, question: Question) -> Option<Arc<str>> {
        while let Some(Ok(answer)) = self.answers.as_ref().map(Receiver::try_recv) {
            self.learn(answer);
        }
        if let Some(known) = self.known.get(&question) {
            return known.clone();
        }
        match self.ask.as_ref()?.try_send(question) {
            Ok(()) => {
                self.waiting += 1;
                self.remember(question, None);
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
        None
    }

    fn learn(&mut self, (question, answer): (Question, Option<String>)) {
        self.waiting -= 1;
        self.remember(question, answer.map(|name| visible(name.as_bytes()).into()));
    }

    fn remember(&mut self, question: Question, answer: Option<Arc<str>>) {
        if let Question::Host(_) = question {
            self.hosts += 1;
            if self.hosts > 2 * HOSTS {
                self.known.retain(|question, _| matches!(question, Question::User(_)));
                self.hosts = 0;
            }
        }
        self.known.insert(question, answer);
    }
}

fn look_up(question: Question) -> Option<String> {
    match question {
        Question::User(uid) => {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            Some(user.map_or_else(|| uid.to_string(), |user| user.name))
        }
        Question::Host(address) => {
            // getnameinfo() answers with the number where there is no name.
            let name = dns_lookup::lookup_addr(&address).ok()?;
            (name != address.to_string()).then_some(name)
        }
    }
}

/// Whether there is a process of this number, also one that /proc hides from us (`hidepid`).
pub fn exists(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

/// Whether the process lives; a zombie doesn't, and a later one of its number has another start.
pub fn is_alive(process: &ProcessRecord) -> bool {
    const NS_PER_TICK: u64 = 10_000_000;

    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", process.tgid)) else {
        return exists(process.tgid);
    };
    // The name in parentheses may hold anything. Field 3 is the state, 22 the start, in ticks of
    // 10 ms.
    let start = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19));
    let start = start.and_then(|ticks| ticks.parse::<u64>().ok());
    start.is_none_or(|ticks| ticks.abs_diff(process.start / NS_PER_TICK) <= 1)
}

/// Names of network namespaces, as of one tick.
#[derive(Debug)]
pub struct NetnsNames {
    named: Vec<(String, u32)>,
    shown: HashMap<u32, Arc<str>>,
}

impl NetnsNames {
    /// Reads which namespaces have a name now.
    pub fn read() -> Self {
        NetnsNames { named: netns::names(), shown: HashMap::new() }
    }

    /// The name, or the inode in brackets as `lsns` writes it.
    pub fn get(&mut self, inode: u32) -> Arc<str> {
        let NetnsNames { named, shown } = self;
        let name =
            shown.entry(inode).or_insert_with(|| match named.iter().find(|(_, i)| *i == inode) {
                Some((name, _)) => visible(name.as_bytes()).into(),
                None => format!("[{inode}]").into(),
            });
        Arc::clone(name)
    }
}

/// A stranger's text made safe to show: control, escape and bidirectional characters and broken
/// UTF-8 become visible escapes.
pub fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c.is_ascii() {
                text.push_str(&format!("\\x{:02x}", c as u32));
            } else if c.is_control() || is_format(c) {
                text.push_str(&format!("\\u{{{:x}}}", c as u32));
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Characters that change the order or the presence of their neighbours without being seen.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_names_become_visible() {
        assert_eq!(visible(b"\x1b[2J"), "\\x1b[2J");
        assert_eq!(visible("a\u{202e}b\u{9b}c".as_bytes()), "a\\u{202e}b\\u{9b}c");
        assert_eq!(visible(b"ok \xff\n"), "ok \\xff\\x0a");
        assert_eq!(visible("grün".as_bytes()), "grün");
    }

    proptest! {
        #[test]
        fn nothing_invisible_is_left(bytes: Vec<u8>) {
            let text = visible(&bytes);
            prop_assert!(!text.chars().any(|c| c.is_control() || is_format(c)));
        }
    }

    #[test]
    fn this_process_lives_and_an_impostor_does_not() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let ticks: u64 =
            stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
        let mut process = ProcessRecord {
            tgid: std::process::id(),
            start: ticks * 10_000_000,
            ..ProcessRecord::default()
        };
        assert!(is_alive(&process));
        process.start += 60_000_000_000;
        assert!(!is_alive(&process));
    }

    #[test]
    fn root_is_called_root_and_a_stranger_by_number() {
        let mut names = Names::new(false);
        assert_eq!((names.user(0), names.user(4_000_000_000)), (None, None));
        names.settle(Duration::from_secs(10));
        assert_eq!(names.user(0).as_deref(), Some("root"));
        assert_eq!(names.user(4_000_000_000).as_deref(), Some("4000000000"));
        names.settle(Duration::from_secs(10));
    }

    #[test]
    fn numeric_asks_nobody() {
        let mut names = Names::new(true);
        assert_eq!(names.user(0), None);
        names.settle(Duration::from_secs(10));
        assert_eq!(names.user(0), None);
        assert_eq!(names.host(IpAddr::from([127, 0, 0, 1])), None);
    }
}
