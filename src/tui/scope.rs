//! Which part of the server is looked at, by the flags: in words, so that nobody takes it for the whole.

use crate::cli::DashboardArgs;
use crate::model::View;
use crate::names::visible;
use crate::top::only_interface;

/// What was written, by what it can be asked of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<(Of, String)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Processes,
    Sockets,
    Namespaces,
    /// The one that there is.
    Interface,
    /// Those whose packets are watched.
    Interfaces,
    /// An expression.
    Packets,
}

impl Of {
    fn is_of_interfaces(self) -> bool {
        matches!(self, Of::Interface | Of::Interfaces)
    }

    fn applies(self, view: View) -> bool {
        match view {
            View::Ifaces => matches!(self, Of::Namespaces | Of::Interface),
            View::Syscalls => self == Of::Processes,
            View::Flows => true,
            View::Drops => !matches!(self, Of::Processes | Of::Interfaces),
            _ => matches!(self, Of::Processes | Of::Sockets | Of::Namespaces),
        }
    }
}

impl Scope {
    /// What the flags say, and an expression of packets.
    pub fn of(args: &DashboardArgs, expression: &str) -> Self {
        let (processes, sockets) = (&args.processes, &args.sockets);
        let mut flags = Vec::new();
        let mut add = |of, words: String| flags.push((of, visible(words.as_bytes())));
        if !processes.pids.is_empty() {
            let pids: Vec<String> = processes.pids.iter().map(u32::to_string).collect();
            add(Of::Processes, format!("-p {}", pids.join(",")));
        }
        processes.comms.iter().for_each(|name| add(Of::Processes, format!("--comm {name}")));
        processes.users.iter().for_each(|user| add(Of::Processes, format!("--uid {user}")));
        for (of, flag, value) in [
            (Of::Processes, "--cgroup", &processes.cgroup),
            (Of::Processes, "--container", &processes.container),
            (Of::Processes, "--pod", &processes.pod),
            (Of::Namespaces, "--netns", &sockets.netns),
        ] {
            value.iter().for_each(|value| add(of, format!("{flag} {value}")));
        }
        let only = only_interface(&sockets.interfaces).is_some();
        let of = if only { Of::Interface } else { Of::Interfaces };
        sockets.interfaces.iter().for_each(|name| add(of, format!("-i {name}")));
        for (is_set, flag) in [(sockets.v4, "-4"), (sockets.v6, "-6")] {
            if is_set {
                add(Of::Sockets, flag.to_owned());
            }
        }
        if !expression.is_empty() {
            add(Of::Packets, format!("“{expression}”"));
        }
        Scope(flags)
    }

    /// What narrows a view; empty if it shows the whole.
    pub fn applying(&self, view: View) -> String {
        self.words(|of| of.applies(view))
    }

    /// What was asked for and can't be asked of a view.
    pub fn ignored(&self, view: View) -> String {
        // Flags for interfaces say themselves what they are about, and so do expressions.
        let is_plain = |of: Of| of.is_of_interfaces() || of == Of::Packets;
        self.words(|of| !of.applies(view) && !is_plain(of))
    }

    /// Whose single drops are looked at, whatever is counted; empty if it is everybody's.
    pub fn of_single_drops(&self) -> String {
        self.words(|of| of == Of::Processes)
    }

    /// Whether there are interfaces whose packets are watched.
    pub fn has_interfaces(&self) -> bool {
        self.0.iter().any(|(of, _)| of.is_of_interfaces())
    }

    fn words(&self, is_wanted: impl Fn(Of) -> bool) -> String {
        let wanted = self.0.iter().filter(|(of, _)| is_wanted(*of));
        wanted.map(|(_, words)| words.as_str()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_view_names_what_narrows_it() {
        let mut args = DashboardArgs::default();
        assert_eq!(Scope::of(&args, ""), Scope::default());
        args.processes.pids = vec![12, 34];
        args.processes.comms = vec!["a\u{1b}b".to_owned()];
        args.sockets.netns = Some("blue".to_owned());
        args.sockets.v6 = true;
        let scope = Scope::of(&args, "");
        let both = |view| (scope.applying(view), scope.ignored(view));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(both(View::Conns), pair("-p 12,34 --comm a\\x1bb --netns blue -6", ""));
        assert_eq!(both(View::Syscalls), pair("-p 12,34 --comm a\\x1bb", "--netns blue -6"));
        assert_eq!(both(View::Ifaces), pair("--netns blue", "-p 12,34 --comm a\\x1bb -6"));
        assert_eq!(both(View::Drops), pair("--netns blue -6", "-p 12,34 --comm a\\x1bb"));
        assert_eq!(scope.of_single_drops(), "-p 12,34 --comm a\\x1bb");
        assert!(!scope.has_interfaces());

        let on = |names: &[&str]| {
            let mut args = DashboardArgs::default();
            args.sockets.interfaces = names.iter().map(|name| (*name).to_owned()).collect();
            let scope = Scope::of(&args, "udp");
            let views = [View::Flows, View::Drops, View::Ifaces, View::Conns];
            assert!(views.iter().all(|view| scope.ignored(*view).is_empty()));
            views.map(|view| scope.applying(view))
        };
        assert_eq!(on(&["eth0"]), ["-i eth0 “udp”", "-i eth0 “udp”", "-i eth0", ""]);
        assert_eq!(on(&["eth*", "lo"]), ["-i eth* -i lo “udp”", "“udp”", "", ""]);
    }
}
