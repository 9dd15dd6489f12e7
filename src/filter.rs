//! The filter grammar of the views, which the scope flags are compiled to as well: terms that must
//! all hold, `key:value[,value…]`, `/regex/`, each negated by `!`.

use std::net::IpAddr;
use std::ops::Range;

use regex::{Regex, RegexBuilder};

use crate::caret::pointed;
use crate::names::Container;
use crate::sample::TCP_STATES;

/// What a filter looks at: one socket and the process that its bytes belong to.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `tcp`, `udp`, …
    pub proto: &'a str,
    /// The socket's own address, if its family has one.
    pub local: Option<(IpAddr, u16)>,
    /// The peer's.
    pub remote: Option<(IpAddr, u16)>,
    /// Whether it is of IPv6, or of IPv4, where no addresses say so.
    pub v6: Option<bool>,
    /// As `ss` writes it.
    pub state: &'a str,
    /// Process id.
    pub pid: u32,
    /// Process name.
    pub comm: &'a str,
    /// Its user.
    pub uid: u32,
    /// Container or unit.
    pub container: Option<&'a str>,
    /// Kubernetes pod.
    pub pod: Option<&'a str>,
    /// Path of the cgroup in the unified hierarchy.
    pub cgroup: Option<&'a str>,
    /// Network namespace's inode.
    pub netns: u32,
    /// Its name, where it has one.
    pub netns_name: &'a str,
}

impl<'a> Facts<'a> {
    /// Of a cgroup, or of what runs in it: neither a socket nor, as yet, a process.
    pub fn of_cgroup(container: Option<&'a Container>, cgroup: Option<&'a str>) -> Self {
        Facts {
            proto: "",
            local: None,
            remote: None,
            v6: None,
            state: "",
            pid: 0,
            comm: "",
            uid: 0,
            container: container.map(|container| container.name.as_str()),
            pod: container.and_then(|container| container.pod.as_deref()),
            cgroup,
            netns: 0,
            netns_name: "",
        }
    }
}

/// A wrong filter, with what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct FilterError {
    words: String,
    /// The term that it is about.
    place: Range<usize>,
}

impl FilterError {
    fn new(words: String) -> Self {
        FilterError { words, place: 0..0 }
    }

    /// With the filter, and a mark below the term.
    pub fn pointed(&self, filter: &str) -> String {
        pointed(&self.words, filter, Some(self.place.clone()))
    }
}

/// Terms that must all hold. The empty filter matches everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Port(Side, Vec<(u16, u16)>),
    Address(Side, Vec<Network>),
    Pid(Vec<u32>),
    Uid(Vec<u32>),
    /// Exactly one of these names.
    Comm(Vec<String>),
    /// Is one of these.
    Is(Text, Vec<String>),
    /// Contains one of these, in any case.
    Contains(Text, Vec<String>),
    Family {
        v6: bool,
    },
    Cgroup(String),
    Netns(u32),
    Regex(Regex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Local,
    Remote,
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Comm,
    State,
    Proto,
    Container,
    Pod,
    Netns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Protocols by the names that rows have; the last ones only those of drops and of flows.
pub const PROTOCOLS: [&str; 19] = [
    "tcp", "udp", "udplite", "mptcp", "sctp", "dccp", "icmp", "icmp6", "raw", "unix", "arp",
    "igmp", "gre", "esp", "ah", "ipip", "vlan", "netlink", "other",
];

/// Bytes of a process's name, in the kernel.
const LONGEST_COMM: usize = 15;

/// The keys of the grammar, for messages and completion.
pub const KEYS: [&str; 13] = [
    "port",
    "sport",
    "dport",
    "src",
    "dst",
    "host",
    "comm",
    "pid",
    "state",
    "proto",
    "container",
    "pod",
    "netns",
];

impl Filter {
    /// Parses an expression such as `port:443 !comm:curl /10\.0\./`.
    ///
    /// # Errors
    /// For an unknown key, a value that isn't of the key's kind, or a broken regular expression.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut terms = Vec::new();
        for place in split(text, |_| true)?.terms {
            let term = parse_term(&text[place.clone()]);
            terms.push(term.map_err(|error| FilterError { place, ..error })?);
        }
        Ok(Filter { terms })
    }

    /// Whether it looks at nothing.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Takes the terms of another one in addition.
    pub fn and(&mut self, other: Filter) {
        self.terms.extend(other.terms);
    }

    /// Only these processes.
    pub fn and_pids(&mut self, pids: &[u32]) {
        self.push(Test::Pid(pids.to_vec()));
    }

    /// Only processes of exactly these names.
    pub fn and_comm(&mut self, names: &[String]) {
        // Longer ones are cut by the kernel.
        let cut = |name: &String| name.chars().take(LONGEST_COMM).collect();
        self.push(Test::Comm(names.iter().map(cut).collect()));
    }

    /// Only processes of these users.
    pub fn and_uids(&mut self, uids: &[u32]) {
        self.push(Test::Uid(uids.to_vec()));
    }

    /// Only processes in the cgroup of this path, or below it.
    pub fn and_cgroup(&mut self, path: &str) {
        self.push(Test::Cgroup(format!("/{}", path.trim_matches('/'))));
    }

    /// Only containers or units whose name contains this.
    pub fn and_container(&mut self, name: &str) {
        self.push(Test::Contains(Text::Container, vec![name.to_lowercase()]));
    }

    /// Only pods whose name contains this.
    pub fn and_pod(&mut self, name: &str) {
        self.push(Test::Contains(Text::Pod, vec![name.to_lowercase()]));
    }

    /// Only this network namespace.
    pub fn and_netns(&mut self, inode: u32) {
        self.push(Test::Netns(inode));
    }

    /// Only IPv6, or only IPv4 (v4-mapped is v4).
    pub fn and_family(&mut self, v6: bool) {
        self.push(Test::Family { v6 });
    }

    fn push(&mut self, test: Test) {
        self.terms.push(Term { negated: false, test });
    }

    /// The key of a term that only a socket can answer.
    pub fn about_sockets(&self) -> Option<&'static str> {
        self.terms.iter().find_map(|term| term.test.about_sockets())
    }

    /// Without the terms that only a socket can answer.
    #[must_use]
    pub fn of_processes(&self) -> Self {
        let terms = self.terms.iter().filter(|term| term.test.about_sockets().is_none());
        Filter { terms: terms.cloned().collect() }
    }

    /// The key of a term that only a single drop can answer, not the sum of many.
    pub fn about_single_drops(&self) -> Option<&'static str> {
        self.terms.iter().find_map(|term| term.test.about_single_drops())
    }

    /// Without the terms that only a single drop can answer.
    #[must_use]
    pub fn of_sums_of_drops(&self) -> Self {
        let terms = self.terms.iter().filter(|term| term.test.about_single_drops().is_none());
        Filter { terms: terms.cloned().collect() }
    }

    /// The key of a term about a socket's state.
    pub fn about_state(&self) -> Option<&'static str> {
        let mut tests = self.terms.iter().map(|term| &term.test);
        tests.any(|test| matches!(test, Test::Is(Text::State, _))).then_some("state")
    }

    /// The key of a term that no packet can answer.
    pub fn about_no_packets(&self) -> Option<&'static str> {
        self.terms.iter().find_map(|term| term.test.about_no_packets())
    }

    /// Whether all terms hold.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        self.terms.iter().all(|term| term.test.holds(facts) != term.negated)
    }
}

impl Test {
    fn about_sockets(&self) -> Option<&'static str> {
        Some(match self {
            Test::Port(Side::Local, _) => "sport",
            Test::Port(Side::Remote, _) => "dport",
            Test::Port(Side::Either, _) => "port",
            Test::Address(Side::Local, _) => "src",
            Test::Address(Side::Remote, _) => "dst",
            Test::Address(Side::Either, _) => "host",
            Test::Is(text, _) | Test::Contains(text, _) => match text {
                Text::State => "state",
                Text::Proto => "proto",
                Text::Netns => "netns",
                Text::Comm | Text::Container | Text::Pod => return None,
            },
            Test::Netns(_) => "netns",
            Test::Family { .. } => "-4 and -6",
            Test::Pid(_) | Test::Uid(_) | Test::Comm(_) | Test::Cgroup(_) | Test::Regex(_) => {
                return None;
            }
        })
    }

    fn about_single_drops(&self) -> Option<&'static str> {
        match self {
            Test::Is(Text::Proto, _)
            | Test::Is(Text::Netns, _)
            | Test::Contains(Text::Proto | Text::Netns, _)
            | Test::Netns(_)
            | Test::Family { .. }
            | Test::Regex(_) => None,
            Test::Pid(_) => Some("pid"),
            Test::Uid(_) => Some("--uid"),
            Test::Cgroup(_) => Some("--cgroup"),
            Test::Comm(_) | Test::Is(Text::Comm, _) | Test::Contains(Text::Comm, _) => Some("comm"),
            Test::Is(Text::Container, _) | Test::Contains(Text::Container, _) => Some("container"),
            Test::Is(Text::Pod, _) | Test::Contains(Text::Pod, _) => Some("pod"),
            test => test.about_sockets(),
        }
    }

    fn about_no_packets(&self) -> Option<&'static str> {
        match self {
            Test::Is(Text::State, _) | Test::Contains(Text::State, _) => Some("state"),
            Test::Is(Text::Netns, _) | Test::Contains(Text::Netns, _) => Some("netns"),
            _ => None,
        }
    }

    fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Test::Port(side, ranges) => side
                .of(facts)
                .any(|(_, port)| ranges.iter().any(|(from, to)| (*from..=*to).contains(&port))),
            Test::Address(side, networks) => {
                side.of(facts).any(|(address, _)| networks.iter().any(|n| n.contains(address)))
            }
            Test::Pid(pids) => pids.contains(&facts.pid),
            Test::Uid(uids) => uids.contains(&facts.uid),
            Test::Comm(names) => names.iter().any(|name| name == facts.comm),
            Test::Is(text, names) => {
                let value = text.of(facts);
                names.iter().any(|name| name == value)
            }
            Test::Contains(text, parts) => {
                let value = text.of(facts).to_lowercase();
                parts.iter().any(|part| value.contains(part))
            }
            Test::Family { v6 } => {
                let of_ends = facts.local.map(|(address, _)| {
                    let remote_is_v4 = facts.remote.is_some_and(|(address, _)| address.is_ipv4());
                    address.is_ipv6() && !remote_is_v4
                });
                of_ends.or(facts.v6) == Some(*v6)
            }
            Test::Cgroup(path) => facts.cgroup.is_some_and(|cgroup| {
                cgroup.strip_prefix(path).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('/') || path.ends_with('/')
                })
            }),
            Test::Netns(inode) => facts.netns == *inode,
            Test::Regex(regex) => regex.is_match(&line(facts)),
        }
    }
}

impl Side {
    fn of<'a>(self, facts: &Facts<'a>) -> impl Iterator<Item = (IpAddr, u16)> + use<'a> {
        let local = facts.local.filter(|_| self != Side::Remote);
        let remote = facts.remote.filter(|_| self != Side::Local);
        local.into_iter().chain(remote)
    }
}

impl Text {
    fn of<'a>(self, facts: &Facts<'a>) -> &'a str {
        match self {
            Text::Comm => facts.comm,
            Text::State => facts.state,
            Text::Proto => facts.proto,
            Text::Container => facts.container.unwrap_or(""),
            Text::Pod => facts.pod.unwrap_or(""),
            Text::Netns => facts.netns_name,
        }
    }
}

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        fn bits(address: IpAddr) -> (u128, u32) {
            match address {
                IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
                IpAddr::V6(v6) => (v6.to_bits(), 128),
            }
        }
        let ((own, width), (other, other_width)) = (bits(self.address), bits(address));
        let shift = 128 - u32::from(self.prefix);
        width == other_width && (shift == 128 || own >> shift == other >> shift)
    }
}

/// What a regular expression is matched against.
fn line(facts: &Facts<'_>) -> String {
    let end = |end: Option<(IpAddr, u16)>| match end {
        Some((IpAddr::V6(address), port)) => format!("[{address}]:{port}"),
        Some((address, port)) => format!("{address}:{port}"),
        None => "-".to_owned(),
    };
    format!(
        "{} {} {} {} {} {} {}",
        facts.proto,
        end(facts.local),
        end(facts.remote),
        facts.state,
        facts.pid,
        facts.comm,
        facts.container.unwrap_or("-")
    )
}

/// Places of words in a text.
#[derive(Debug, Default)]
pub struct Words {
    /// Those of the grammar.
    pub terms: Vec<Range<usize>>,
    /// All others.
    pub others: Vec<Range<usize>>,
}

/// Words separated by blanks, those that are terms apart from the others; a regular expression between
/// slashes may hold blanks.
///
/// # Errors
/// For one without its second slash.
pub fn split(text: &str, is_term: impl Fn(&str) -> bool) -> Result<Words, FilterError> {
    let mut words = Words::default();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let rest = &text[at..];
        if rest.is_empty() {
            return Ok(words);
        }
        let word = at..at + rest.find(char::is_whitespace).unwrap_or(rest.len());
        let body = rest.strip_prefix('!').unwrap_or(rest);
        let is_term = is_term(&text[word.clone()]);
        let place = match body.strip_prefix('/').filter(|_| is_term) {
            Some(pattern) => {
                let end = unescaped_slash(pattern).ok_or_else(|| FilterError {
                    words: format!("“{rest}” has no closing /"),
                    place: word,
                })?;
                at..at + (rest.len() - body.len()) + end + 2
            }
            None => word,
        };
        at = place.end;
        if is_term { &mut words.terms } else { &mut words.others }.push(place);
    }
}

fn unescaped_slash(pattern: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in pattern.char_indices() {
        match c {
            '/' if !escaped => return Some(at),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

fn parse_term(word: &str) -> Result<Term, FilterError> {
    let (negated, body) = match word.strip_prefix('!') {
        Some(body) => (true, body),
        None => (false, word),
    };
    if let Some(pattern) = body.strip_prefix('/').and_then(|p| p.strip_suffix('/')) {
        let regex = RegexBuilder::new(pattern).case_insensitive(true).build().map_err(|error| {
            FilterError::new(format!("“{body}” is no regular expression: {error}"))
        })?;
        return Ok(Term { negated, test: Test::Regex(regex) });
    }
    let Some((key, value)) = body.split_once(':') else {
        return Err(FilterError::new(format!(
            "“{body}” is no filter; try {}:{body} or /{body}/ (keys: {})",
            key_for(body),
            KEYS.join(" ")
        )));
    };
    if value.is_empty() {
        return Err(FilterError::new(format!(
            "{key}: needs a value, as in {key}:{}",
            example(key)
        )));
    }
    Ok(Term { negated, test: parse_test(key, value)? })
}

fn parse_test(key: &str, value: &str) -> Result<Test, FilterError> {
    let contains =
        |text| Ok(Test::Contains(text, value.split(',').map(str::to_lowercase).collect()));
    match key {
        "port" => Ok(Test::Port(Side::Either, list(key, value, parse_ports)?)),
        "sport" => Ok(Test::Port(Side::Local, list(key, value, parse_ports)?)),
        "dport" => Ok(Test::Port(Side::Remote, list(key, value, parse_ports)?)),
        "host" => Ok(Test::Address(Side::Either, list(key, value, parse_network)?)),
        "src" => Ok(Test::Address(Side::Local, list(key, value, parse_network)?)),
        "dst" => Ok(Test::Address(Side::Remote, list(key, value, parse_network)?)),
        "pid" => Ok(Test::Pid(list(key, value, |v| v.parse().ok())?)),
        "comm" => contains(Text::Comm),
        "state" => Ok(Test::Is(Text::State, one_of(value, &TCP_STATES[1..12])?)),
        "proto" => Ok(Test::Is(Text::Proto, one_of(value, &PROTOCOLS)?)),
        "container" => contains(Text::Container),
        "pod" => contains(Text::Pod),
        "netns" => contains(Text::Netns),
        _ => Err(FilterError::new(match nearest(key, KEYS) {
            Some(near) => format!("no filter key {key}:; did you mean {near}:?"),
            None => format!("no filter key {key}:; there are {}", KEYS.join(" ")),
        })),
    }
}

/// The key that somebody may have meant who left it out.
fn key_for(value: &str) -> &'static str {
    if one_of(value, &PROTOCOLS).is_ok() { "proto" } else { "comm" }
}

/// Names in any case, as they are shown.
fn one_of(value: &str, names: &[&str]) -> Result<Vec<String>, FilterError> {
    let find = |word: &str| names.iter().find(|name| name.eq_ignore_ascii_case(word));
    let wrong = |word: &str| match nearest(word, names.iter().copied()) {
        Some(near) => FilterError::new(format!("there is no “{word}”; did you mean {near}?")),
        None => FilterError::new(format!("there is no “{word}”; there are {}", names.join(" "))),
    };
    value
        .split(',')
        .map(|word| find(word).map(|name| (*name).to_owned()).ok_or_else(|| wrong(word)))
        .collect()
}

fn list<T>(
    key: &str,
    value: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, FilterError> {
    let wrong = |part: &str| {
        FilterError::new(format!("“{part}” is no value for {key}:, write {key}:{}", example(key)))
    };
    value.split(',').map(|part| parse(part).ok_or_else(|| wrong(part))).collect()
}

fn example(key: &str) -> &'static str {
    match key {
        "port" | "sport" | "dport" => "443 or 8000-8100",
        "src" | "dst" | "host" => "10.0.0.0/8 or 2001:db8::1",
        "pid" => "1234",
        "state" => "estab",
        "proto" => "tcp",
        _ => "name",
    }
}

fn parse_ports(text: &str) -> Option<(u16, u16)> {
    match text.split_once('-') {
        Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)).filter(|(f, t)| f <= t),
        None => text.parse().ok().map(|port| (port, port)),
    }
}

fn parse_network(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    // A v4-mapped address is shown, and so compared, as the v4 one.
    let (address, prefix) = match (address.to_canonical(), prefix) {
        (v4 @ IpAddr::V4(_), Some(bits)) if address.is_ipv6() => (v4, Some(bits.checked_sub(96)?)),
        (canonical, bits) => (canonical, bits),
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.unwrap_or(width);
    (prefix <= width).then_some(Network { address, prefix })
}

/// The one of `names` that was probably meant by `word`.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.7;

    let word = word.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests;
