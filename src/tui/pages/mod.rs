//! What rows are opened to: a group's connections and system calls, one connection, one system call,
//! one interface, one reason for drops.

pub mod call;
pub mod connection;
pub mod drops;
pub mod group;
pub mod iface;

use std::time::SystemTime;

use crate::model::{ConnRow, DropRow, EventRow, IfaceRow, Rows, SyscallRow};
use crate::tui::singles::SinglesOf;
use crate::tui::table::Table;
use call::CallPage;
use connection::ConnectionPage;
use drops::DropPage;
use group::{Group, GroupPage};
use iface::IfacePage;

/// What is open, one below the other.
#[derive(Debug)]
pub enum Page {
    /// Connections and system calls of a process, host, container or listener.
    Group(Box<GroupPage>),
    /// One connection over time.
    Connection(Box<ConnectionPage>),
    /// One system call over time.
    Call(Box<CallPage>),
    /// One interface over time.
    Iface(Box<IfacePage>),
    /// The last drops of a reason and function.
    Drops(Box<DropPage>),
}

/// What a picture has for pages.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    /// All connections that are shown.
    pub conns: &'a [ConnRow],
    /// Those that ended in this interval.
    pub ended: &'a [ConnRow],
    /// All system calls.
    pub calls: &'a [SyscallRow],
    /// All drops.
    pub drops: &'a [DropRow],
    /// All interfaces.
    pub ifaces: &'a [IfaceRow],
    /// When it was read.
    pub time: SystemTime,
    /// Since the picture before, seconds.
    pub interval_s: f64,
}

impl Page {
    /// What a row is opened to; none if there is no such row, or it is nobody's flow.
    pub fn of(rows: &Rows, cursor: usize) -> Option<Self> {
        let group = |of| Page::Group(Box::new(GroupPage::new(of)));
        match rows {
            Rows::Procs(rows) => rows.get(cursor).map(|row| group(Group::process(&row.process))),
            Rows::Hosts(rows) => rows.get(cursor).map(|row| group(Group::host(row))),
            Rows::Containers(rows) => rows.get(cursor).map(|row| group(Group::container(row))),
            Rows::Listeners(rows) => rows.get(cursor).map(|row| group(Group::listener(row))),
            Rows::Conns(rows) => {
                let row = rows.get(cursor)?;
                Some(Page::Connection(Box::new(ConnectionPage::new(row))))
            }
            Rows::Syscalls(rows) => {
                let row = rows.get(cursor)?;
                Some(Page::Call(Box::new(CallPage::new(row))))
            }
            Rows::Ifaces(rows) => {
                let row = rows.get(cursor)?;
                Some(Page::Iface(Box::new(IfacePage::new(row))))
            }
            Rows::Drops(rows) => {
                let row = rows.get(cursor)?;
                Some(Page::Drops(Box::new(DropPage::new(row))))
            }
            Rows::Flows(rows) => {
                let owner = rows.get(cursor)?.owner.as_ref()?;
                Some(group(Group::process(owner)))
            }
        }
    }

    /// Its part of the breadcrumb.
    pub fn title(&self) -> &str {
        match self {
            Page::Group(page) => &page.group.title,
            Page::Connection(page) => &page.title,
            Page::Call(page) => &page.title,
            Page::Iface(page) => &page.row.interface,
            Page::Drops(page) => &page.title,
        }
    }

    /// The single events that it shows.
    pub fn singles(&self) -> Option<SinglesOf> {
        match self {
            Page::Connection(page) => Some(SinglesOf::connection(&page.row)),
            Page::Drops(page) => Some(SinglesOf::drops(&page.row)),
            Page::Group(_) | Page::Call(_) | Page::Iface(_) => None,
        }
    }

    /// Takes those, the newest last.
    pub fn take_singles(&mut self, singles: Vec<EventRow>) {
        match self {
            Page::Connection(page) => page.singles = singles,
            Page::Drops(page) => page.singles = Some(singles),
            Page::Group(_) | Page::Call(_) | Page::Iface(_) => {}
        }
    }

    /// Takes what is new.
    pub fn take(&mut self, news: &News<'_>) {
        match self {
            // Its rows come with the picture.
            Page::Group(_) => {}
            Page::Connection(page) => page.take(news),
            Page::Call(page) => page.take(news),
            Page::Iface(page) => page.take(news),
            Page::Drops(page) => page.take(news),
        }
    }

    /// The table that the cursor is in.
    pub fn table(&mut self) -> Option<&mut Table> {
        match self {
            Page::Group(page) => Some(page.focused()),
            Page::Connection(_) | Page::Call(_) | Page::Iface(_) | Page::Drops(_) => None,
        }
    }
}
