//! The connections and the system calls of one process or container, or the connections of a host or
//! listener.

use std::net::IpAddr;
use std::sync::Arc;

use ratatui::layout::Rect;

use crate::columns::{self, Order};
use crate::model::{ConnRow, ContainerRow, HostRow, ListenerRow, Process, Rows, SyscallRow, View};
use crate::names::Container;
use crate::output::Units;
use crate::tui::layout;
use crate::tui::table::Table;

/// Whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As the breadcrumb has it.
    pub title: String,
    of: Of,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    Process(u32),
    Host(IpAddr),
    Container(Option<String>),
    Listener { proto: &'static str, port: u16, netns: Arc<str> },
}

impl Group {
    /// A process.
    pub fn process(process: &Process) -> Self {
        let title = format!("{} {}", process.comm, process.pid);
        Group { title, of: Of::Process(process.pid) }
    }

    /// A remote address.
    pub fn host(row: &HostRow) -> Self {
        Group { title: row.remote.to_string(), of: Of::Host(row.remote) }
    }

    /// A container or unit.
    pub fn container(row: &ContainerRow) -> Self {
        let name = name(row.container.as_ref());
        let title = name.clone().unwrap_or_else(|| "no container".to_owned());
        Group { title, of: Of::Container(name) }
    }

    /// What came in at a listener's port.
    pub fn listener(row: &ListenerRow) -> Self {
        let port = row.local.map_or(0, |(_, port)| port);
        let title = format!("{} port {port}", row.proto);
        Group { title, of: Of::Listener { proto: row.proto, port, netns: row.netns.clone() } }
    }

    fn has_conn(&self, row: &ConnRow) -> bool {
        match &self.of {
            Of::Process(pid) => row.process.pid == *pid,
            Of::Host(address) => row.remote.is_some_and(|(remote, _)| remote == *address),
            Of::Container(of) => name(row.process.container.as_ref()) == *of,
            Of::Listener { proto, port, netns } => {
                row.proto == *proto
                    && row.local.is_some_and(|(_, local)| local == *port)
                    && row.netns == *netns
            }
        }
    }

    fn has_call(&self, row: &SyscallRow) -> bool {
        match &self.of {
            Of::Process(pid) => row.process.as_ref().is_some_and(|process| process.pid == *pid),
            Of::Container(of) => name(row.container.as_ref()) == *of,
            Of::Host(_) | Of::Listener { .. } => false,
        }
    }

    /// Keys of columns that say the same in each row.
    fn common(&self) -> &'static [&'static str] {
        match self.of {
            Of::Process(_) => &["pid", "comm", "user", "container"],
            Of::Host(_) => &["remote_address"],
            Of::Container(_) => &["container"],
            Of::Listener { .. } => &["proto", "local_port", "netns"],
        }
    }

    fn has_calls(&self) -> bool {
        matches!(self.of, Of::Process(_) | Of::Container(_))
    }
}

fn name(container: Option<&Arc<Container>>) -> Option<String> {
    container.map(|container| container.name.clone())
}

/// The rows of a group, as the collector finds them.
#[derive(Debug)]
pub struct GroupRows {
    group: Group,
    conns: Rows,
    calls: Rows,
    orders: [Option<Order>; 2],
}

impl GroupRows {
    /// None yet.
    pub fn new(group: Group) -> Self {
        let (conns, calls) = (Rows::none(View::Conns), Rows::none(View::Syscalls));
        GroupRows { group, conns, calls, orders: [None; 2] }
    }

    /// Takes in those of all these rows that are the group's.
    pub fn add(&mut self, all: &Rows) {
        let group = &self.group;
        match (all, &mut self.conns, &mut self.calls) {
            (Rows::Conns(all), Rows::Conns(conns), _) => {
                conns.extend(all.iter().filter(|row| group.has_conn(row)).cloned());
            }
            (Rows::Syscalls(all), _, Rows::Syscalls(calls)) => {
                calls.extend(all.iter().filter(|row| group.has_call(row)).cloned());
            }
            _ => {}
        }
    }

    /// Sorts connections and calls.
    pub fn arrange(&mut self, [conns, calls]: [Order; 2]) {
        columns::arrange(&mut self.conns, conns);
        columns::arrange(&mut self.calls, calls);
        self.orders = [Some(conns), Some(calls)];
    }
}

/// Two tables, one of which has the cursor.
#[derive(Debug)]
pub struct GroupPage {
    /// Whose they are.
    pub group: Group,
    /// Its connections.
    pub conns: Table,
    /// Its system calls, where it has any to call its own.
    pub calls: Option<Table>,
    /// The cursor is in the system calls.
    pub is_on_calls: bool,
    /// Its rows weren't looked up yet.
    pub is_waiting: bool,
}

impl GroupPage {
    pub(super) fn new(group: Group) -> Self {
        let common = group.common();
        let table = |view| Table::new(view, None).without(common);
        let calls = group.has_calls().then(|| table(View::Syscalls));
        GroupPage { group, conns: table(View::Conns), calls, is_on_calls: false, is_waiting: true }
    }

    /// Takes rows, if they are this group's; returns those that aren't shown any more.
    pub fn take(&mut self, rows: GroupRows, units: Units) -> Vec<Rows> {
        let GroupRows { group, conns, calls, orders } = rows;
        if group != self.group {
            return vec![conns, calls];
        }
        self.is_waiting = false;
        let mut spent = vec![self.conns.take(conns, orders[0])];
        self.conns.settle(units);
        spent.push(match &mut self.calls {
            Some(table) => {
                let before = table.take(calls, orders[1]);
                table.settle(units);
                before
            }
            None => calls,
        });
        spent
    }

    /// The orders that its tables are to be in.
    pub fn orders(&self) -> [Order; 2] {
        [self.conns.order, self.calls.as_ref().map_or_else(Order::default, |calls| calls.order)]
    }

    pub(super) fn focused(&mut self) -> &mut Table {
        match &mut self.calls {
            Some(calls) if self.is_on_calls => calls,
            _ => &mut self.conns,
        }
    }

    /// Where its tables are drawn; that of system calls has no room where it has none.
    pub fn tables(&self, body: Rect) -> [Rect; 2] {
        match self.calls {
            Some(_) => layout::panes(body).map(layout::pane_table),
            None => [body, Rect::new(body.right(), body.bottom(), 0, 0)],
        }
    }

    /// Puts the cursor in the other table, if there is one.
    pub fn focus(&mut self, calls: bool) {
        self.is_on_calls = calls && self.calls.is_some();
    }
}
