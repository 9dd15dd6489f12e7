//! What a packet's comment in a file says: its process, container and direction.

use std::fmt;
use std::sync::Arc;

use crate::sample::PacketDirection;

/// Whose a packet is, in words that are safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The process's number.
    pub pid: u32,
    /// Its name.
    pub comm: Arc<str>,
    /// Its container or unit.
    pub container: Option<Arc<str>>,
}

/// `comm[pid]`, and the container if there is one.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.comm, self.pid)?;
        self.container.as_ref().map_or(Ok(()), |container| write!(f, " {container}"))
    }
}

/// `process=curl[1234] container=nginx.service direction=out`, as far as it is known.
pub fn comment(owner: Option<&Owner>, direction: PacketDirection) -> String {
    let direction = direction.name();
    match owner {
        None => format!("direction={direction}"),
        Some(Owner { pid, comm, container: None }) => {
            format!("process={comm}[{pid}] direction={direction}")
        }
        Some(Owner { pid, comm, container: Some(container) }) => {
            format!("process={comm}[{pid}] container={container} direction={direction}")
        }
    }
}

/// What [`comment`] wrote. Names may have blanks in them, so it is read from its end.
pub fn owner_of(comment: &str) -> Option<Owner> {
    let (rest, _) = comment.rsplit_once(" direction=")?;
    let rest = rest.strip_prefix("process=")?;
    let (process, container) = match rest.rsplit_once(" container=") {
        Some((process, container)) => (process, Some(container.into())),
        None => (rest, None),
    };
    let (comm, pid) = process.strip_suffix(']')?.rsplit_once('[')?;
    Some(Owner { pid: pid.parse().ok()?, comm: comm.into(), container })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(comm: &str, container: Option<&str>) -> Owner {
        Owner { pid: 12, comm: comm.into(), container: container.map(Arc::from) }
    }

    #[test]
    fn what_is_written_is_read() {
        for it in [
            owner("curl", None),
            owner("nginx", Some("docker:0123456789ab")),
            owner("a [1] b", Some("nginx.service")),
            owner("", None),
        ] {
            for direction in [PacketDirection::In, PacketDirection::Out] {
                assert_eq!(owner_of(&comment(Some(&it), direction)), Some(it.clone()));
            }
        }
        assert_eq!(comment(None, PacketDirection::In), "direction=in");
        assert_eq!(
            comment(Some(&owner("curl", Some("x.service"))), PacketDirection::Out),
            "process=curl[12] container=x.service direction=out"
        );
    }

    #[test]
    fn what_others_write_is_no_owner() {
        for text in
            ["", "direction=in", "hello", "process=x direction=in", "process=x[y] direction=in"]
        {
            assert_eq!(owner_of(text), None, "{text}");
        }
    }
}
