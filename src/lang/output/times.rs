//! Times of day, by the C library's strftime and the machine's time zone.

use std::ffi::CString;
use std::mem::MaybeUninit;

use nix::time::{ClockId, clock_gettime};

/// In whose time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    Local,
    Utc,
}

/// Seconds since 1970 as `format` says; nothing if that is longer than `room` bytes, or says nothing.
pub(super) fn strftime(format: &str, seconds: i64, zone: Zone, room: usize) -> Option<Vec<u8>> {
    let format = CString::new(format).ok()?;
    let mut time = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both read a number and write a `tm` that is ours.
    let made = unsafe {
        match zone {
            Zone::Local => libc::localtime_r(&raw const seconds, time.as_mut_ptr()),
            Zone::Utc => libc::gmtime_r(&raw const seconds, time.as_mut_ptr()),
        }
    };
    if made.is_null() {
        return None;
    }
    let mut text = vec![0; room];
    // SAFETY: it writes at most `room` bytes into `text`; the format ends with a NUL, and the `tm` is one.
    let length =
        unsafe { libc::strftime(text.as_mut_ptr().cast(), room, format.as_ptr(), time.as_ptr()) };
    text.truncate(length);
    (length > 0).then_some(text)
}

/// The same of nanoseconds; `%k`, `%f` and `%l` are the nanoseconds, microseconds and milliseconds of the second.
pub(super) fn timestamp(format: &str, ns: u64, zone: Zone, room: usize) -> Vec<u8> {
    let (seconds, part) = ((ns / 1_000_000_000) as i64, ns % 1_000_000_000);
    let format = format
        .replace("%f", &format!("{:06}", part / 1_000))
        .replace("%k", &format!("{part:09}"))
        .replace("%l", &format!("{:03}", part / 1_000_000));
    let known = (seconds != 0).then(|| strftime(&format, seconds, zone, room)).flatten();
    known.unwrap_or_else(|| b"(?)".to_vec())
}

/// How far the time of day is ahead of the time since boot, ns.
pub(super) fn boot_time() -> u64 {
    let now =
        |clock| clock_gettime(clock).map_or(0, |at| at.tv_sec() * 1_000_000_000 + at.tv_nsec());
    // The first and the last are as far from the middle: halfway between them is when that was.
    let before = now(ClockId::CLOCK_REALTIME);
    let boot = now(ClockId::CLOCK_BOOTTIME);
    let after = now(ClockId::CLOCK_REALTIME);
    u64::try_from(before.midpoint(after) - boot).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written() {
        let ns = 1_700_000_000_123_456_789;
        let shown = |format| String::from_utf8(timestamp(format, ns, Zone::Utc, 64)).unwrap();
        assert_eq!(shown("%Y-%m-%d %H:%M:%S"), "2023-11-14 22:13:20");
        assert_eq!(shown("%f %k %l"), "123456 123456789 123");
        assert_eq!(timestamp("%H", 5, Zone::Utc, 64), b"(?)");
        assert_eq!(timestamp("%Y%Y", ns, Zone::Utc, 4), b"(?)");
        assert!(boot_time() > ns);
    }
}
