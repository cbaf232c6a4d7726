//! `monitor ...`: what gdb has no command for.

use super::Copy;
use crate::explain::{explain, rfc3339};
use crate::log::{Entry, Index};
use crate::replay::{ReplayError, translate};

const HELP: &str = "\
monitor entry            where the guest is: entry of the log, agreed time, digest
monitor entry N          go to the end of entry N, back or on
monitor entry +N | -N    the same, counted from here
monitor inputs           what the entry feeds the guest
monitor physical ADDRESS the physical address behind a virtual one
stepi runs straight-line code up to the next branch. Memory and registers cannot be written: `quorate replay --fork` makes
a machine that can be changed.
";
const FLUSH: &str = "gdb keeps what it has read: say `maintenance flush register-cache`\n";

/// Does a command; what cannot be done is said, and the session goes on.
pub(super) fn answer(copy: &mut Copy<'_>, command: &str) -> Result<String, ReplayError> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["entry" | "where"] => position(copy),
        ["entry", to] => match target(copy, to) {
            Some(index) => go(copy, index),
            None => Ok(format!("{to:?} is no entry: write N, +N or -N\n")),
        },
        ["inputs"] => inputs(copy),
        ["physical", address] => Ok(physical(copy, address)),
        _ => Ok(HELP.to_owned()),
    }
}

fn here<'c>(copy: &'c Copy<'_>) -> &'c Entry {
    copy.within().unwrap_or(copy.last())
}

fn position(copy: &Copy<'_>) -> Result<String, ReplayError> {
    let last = copy.end_of_log()?.0;
    let (index, time) = (here(copy).index.0, rfc3339(copy.time()));
    Ok(match copy.digest() {
        Some(digest) => format!(
            "after entry {index} of {last}, {time}, digest {}\n",
            hex::encode(digest)
        ),
        None => format!("within entry {index} of {last}, {time}\n"),
    })
}

/// An entry as it is written: absolute, or counted from the last one that is whole.
fn target(copy: &Copy<'_>, text: &str) -> Option<Index> {
    let from = copy.last().index.0;
    let index = match text.split_at_checked(1)? {
        ("+", count) => from.checked_add(count.parse().ok()?)?,
        ("-", count) => from.checked_sub(count.parse().ok()?)?,
        _ => text.parse().ok()?,
    };
    Some(Index(index))
}

fn go(copy: &mut Copy<'_>, index: Index) -> Result<String, ReplayError> {
    match copy.go_to(index) {
        Ok(()) => Ok(position(copy)? + FLUSH),
        // The copy is whole: nothing was applied, or everything before the damage.
        Err(
            error @ (ReplayError::Beyond { .. } | ReplayError::BeforeRetained { .. } | ReplayError::Damaged { .. }),
        ) => Ok(format!("{error}\n")),
        Err(error) => Err(error),
    }
}

fn inputs(copy: &Copy<'_>) -> Result<String, ReplayError> {
    let entry = here(copy);
    let before = copy.before(entry)?;
    Ok(format!(
        "{}\n",
        explain(entry, before, entry.encode().len(), &copy.nodes())
    ))
}

fn physical(copy: &Copy<'_>, text: &str) -> String {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let Ok(address) = u64::from_str_radix(digits, 16) else {
        return format!("{text:?} is no address in hexadecimal\n");
    };
    match translate::physical(copy.machine(), address) {
        Some(physical) => format!("{physical:#x}\n"),
        None => "nothing is mapped there\n".to_owned(),
    }
}
