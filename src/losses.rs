//! What each cause of a loss means, and what to do about it: for whoever is told of one.

/// Sockets that closed between two readings, above what is kept of them.
pub const CLOSED_BACKLOG: &str = "closed_backlog";
/// Events of sockets between two readings, above what is kept of them.
pub const EVENT_BACKLOG: &str = "event_backlog";
/// Events above what is shown in a second.
pub const EVENT_LIMIT: &str = "event_limit";
/// Events that came when younger ones had been shown.
pub const EVENT_ORDER: &str = "event_order";
/// Slow calls between two readings, above what is kept of them.
pub const SLOW_BACKLOG: &str = "slow_backlog";
/// Runs of programs that the kernel skipped.
pub const HOOK_REENTERED: &str = "hook_reentered";
/// Connections that count and have no row.
pub const CLOSED_UNLISTED: &str = "closed_unlisted";
/// Single drops above what is wanted in a second.
pub const DROP_LIMIT: &str = "drop_limit";
/// Single drops above what a document lists.
pub const DROPS_UNLISTED: &str = "drops_unlisted";
/// Rows of processes or threads that ended long before they were to be shown.
pub const CALLERS_MERGED: &str = "callers_merged";
/// Steps of packets between two readings, above what is kept of them.
pub const PATH_BACKLOG: &str = "path_backlog";
/// Slow calls above what a document lists.
pub const SLOW_UNLISTED: &str = "slow_unlisted";

/// A cause, in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Cause {
    /// As `loss` has it in JSON.
    pub name: &'static str,
    /// What happened so many times, as what follows the count.
    pub about: &'static str,
    /// What makes it rarer, if anything does.
    pub remedy: &'static str,
    /// Only rows are missing; what they tell of is counted.
    pub is_counted: bool,
}

const fn cause(name: &'static str, about: &'static str, remedy: &'static str) -> Cause {
    Cause { name, about, remedy, is_counted: false }
}

const LESS: &str = "a narrower scope (-p, --netns) needs less";

/// All of them.
pub const CAUSES: &[Cause] = &[
    cause(
        "socket_storage",
        "sockets without a tag, as the kernel had no memory for one: their owner and, of UDP, their \
bytes are missing",
        "free memory on this machine",
    ),
    cause(
        "close_ring",
        "connections closed while the ring for that was full: what they moved since the last reading \
is missing",
        "--ring-size makes more room, a shorter interval reads more often",
    ),
    cause(
        CLOSED_BACKLOG,
        "connections closed between two readings, more than are kept: what they moved since the last \
reading is missing",
        "a shorter interval reads more often",
    ),
    cause(
        "birth_ring",
        "connections began while the ring for that was full: they aren't shown as events",
        "--ring-size makes more room",
    ),
    cause(
        EVENT_BACKLOG,
        "connections began or closed between two readings, more than are kept: they aren't shown as \
events",
        "a narrower scope (-p, --netns) has fewer",
    ),
    Cause {
        is_counted: true,
        ..cause(
            EVENT_LIMIT,
            "events were not shown, being more than --limit a second",
            "a higher --limit shows more, naming kinds or filters needs less",
        )
    },
    Cause {
        is_counted: true,
        ..cause(
            EVENT_ORDER,
            "events came late and are shown after younger ones",
            "sort them by time",
        )
    },
    cause(
        "usage_table",
        "calls found the table of bytes per call full: bytes of UDP, or of TCP sockets that processes \
share, are missing",
        LESS,
    ),
    cause(
        "call_return",
        "calls couldn't be watched until they returned, as the kernel watches only so many by kprobes: \
their bytes are missing",
        "nettrace doctor says why it has to be kprobes here",
    ),
    cause(
        HOOK_REENTERED,
        "events came while a program of nettrace was at work on that CPU, and the kernel skipped the \
second: they aren't counted",
        "nettrace doctor says whether a better hook could be had",
    ),
    cause(
        "tree_table",
        "children of the command found the table of followed processes full: what they do is missing",
        "",
    ),
    cause(
        "task_storage",
        "system calls of threads that the kernel had no memory to know by: they aren't counted",
        "free memory on this machine",
    ),
    cause(
        "call_table",
        "system calls came when no more pairs of thread and call had room: they aren't counted",
        LESS,
    ),
    cause(
        "errno_table",
        "errors count, but not by their errno, as the table of the rarer ones was full",
        LESS,
    ),
    cause(
        "slow_ring",
        "slow calls came while the ring for them was full: they count, but aren't shown",
        "--ring-size makes more room, a longer --slower-than needs less",
    ),
    cause(
        SLOW_BACKLOG,
        "slow calls between two readings, more than are kept: they count, but aren't shown",
        "a longer --slower-than leaves less to show",
    ),
    Cause {
        is_counted: true,
        ..cause(
            CLOSED_UNLISTED,
            "connections closed while a long interval went on and have no row of their own; their bytes \
are counted",
            "a shorter interval lists more of them",
        )
    },
    Cause {
        is_counted: true,
        ..cause(
            CALLERS_MERGED,
            "rows of processes or threads that ended were merged into one without a process, being more \
than 100,000",
            "a shorter interval, or --by syscall, has fewer",
        )
    },
    Cause {
        is_counted: true,
        ..cause(
            SLOW_UNLISTED,
            "slow calls are not listed, as a frame lists 100,000",
            "-O ndjson lists all",
        )
    },
    Cause {
        is_counted: true,
        ..cause(
            "flow_table",
            "packets found the table of flows full: they are counted as \"other\"",
            "--flows makes more room",
        )
    },
    cause(
        "drop_table",
        "drops found the table of reasons and places full: they aren't counted",
        "a narrower scope (--netns, -i) needs less",
    ),
    cause(
        "drop_ring",
        "single drops came while the ring for them was full: they aren't shown",
        "--ring-size makes more room, a lower --limit needs less",
    ),
    Cause {
        is_counted: true,
        ..cause(
            DROP_LIMIT,
            "drops were not shown one by one, being more than --limit a second",
            "a higher --limit shows more",
        )
    },
    cause(
        "packet_ring",
        "packets came while the ring for them was full: they are not captured",
        "a narrower filter, a smaller -s or a larger --ring-size helps",
    ),
    cause(
        "path_table",
        "times there was no room to follow a packet: a part of its way is missing",
        "a narrower filter needs less",
    ),
    cause(
        "path_ring",
        "steps came while the ring for them was full: they aren't shown",
        "--ring-size makes more room, a narrower filter or --functions need less",
    ),
    cause(
        "path_busy",
        "packets came while others were being judged on that CPU: the filter wasn't asked at that step",
        "",
    ),
    cause(
        PATH_BACKLOG,
        "steps between two readings, more than are kept: they aren't shown",
        "a narrower filter or --functions leave less to show",
    ),
    Cause {
        is_counted: true,
        ..cause(
            DROPS_UNLISTED,
            "drops are not listed one by one, as a frame lists 100,000",
            "-O ndjson lists all",
        )
    },
];

/// What is known of a cause.
pub fn about(name: &str) -> Option<&'static Cause> {
    CAUSES.iter().find(|cause| cause.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::probes::{capture, drops, flows, path, sockets, syscalls};

    #[test]
    fn every_cause_that_can_be_told_has_words_and_no_other() {
        let programs = sockets::LOSS_NAMES
            .iter()
            .chain(&syscalls::LOSS_NAMES)
            .chain(&drops::LOSS_NAMES)
            .chain(&flows::LOSS_NAMES)
            .chain(&capture::LOSS_NAMES)
            .chain(&path::LOSS_NAMES);
        let programs: BTreeSet<&str> = programs.map(|(name, _)| *name).collect();
        // None of the programs' causes is without a name.
        assert_eq!(programs.len(), sockets::types::loss::LOSS_CAUSES.0 as usize);
        let others = [
            CLOSED_BACKLOG,
            EVENT_BACKLOG,
            EVENT_LIMIT,
            EVENT_ORDER,
            SLOW_BACKLOG,
            HOOK_REENTERED,
            CLOSED_UNLISTED,
            CALLERS_MERGED,
            SLOW_UNLISTED,
            DROPS_UNLISTED,
            PATH_BACKLOG,
        ];
        let told: BTreeSet<&str> = programs.into_iter().chain(others).collect();
        let known: BTreeSet<&str> = CAUSES.iter().map(|cause| cause.name).collect();
        assert_eq!(told, known);
        assert!(CAUSES.iter().all(|cause| !cause.about.is_empty()));
    }
}
