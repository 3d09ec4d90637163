//! Names that PostgreSQL can hold: at most 63 bytes, not empty, none of its own.

use std::collections::HashSet;

/// The longest name of an object, in bytes.
const LONGEST: usize = 63;

/// The columns that every table has already.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Returns the name if it can be used, else one that can, unlike all that are taken.
///
/// Shortening is a function of the name alone, so that every run and every reference to the object comes to the same result.
pub(super) fn usable(name: &str, taken: &HashSet<String>) -> String {
    let mut candidate = shorten(name);
    let mut number = 1;
    while taken.contains(&candidate) {
        number += 1;
        candidate = shorten(&format!("{name}_{number}"));
    }
    candidate
}

/// Returns a name for a column: usable, and none of the system columns'.
pub(super) fn usable_column(name: &str, position: usize, taken: &HashSet<String>) -> String {
    if name.is_empty() {
        return usable(&format!("column_{}", position + 1), taken);
    }
    if SYSTEM_COLUMNS.contains(&name) {
        return usable(&format!("{name}_"), taken);
    }
    usable(name, taken)
}

/// Returns the name, or its first part with a checksum of the whole where it is too long.
pub(crate) fn shorten(name: &str) -> String {
    let name = if name.is_empty() { "unnamed" } else { name };
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let mut end = LONGEST - 9;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{:08x}", &name[..end], fnv(name))
}

/// FNV-1a in 32 bits: enough to keep names apart, and the same for ever.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_at_a_character_and_stay_apart() {
        let (one, other) = ("ü".repeat(40) + "a", "ü".repeat(40) + "b");
        let none = HashSet::new();
        let (short_one, short_other) = (usable(&one, &none), usable(&other, &none));
        assert!(short_one.len() <= LONGEST && short_other.len() <= LONGEST);
        assert_ne!(short_one, short_other);
        assert_eq!(usable(&one, &none), short_one);
    }

    #[test]
    fn names_that_the_server_refuses_are_replaced() {
        let taken = HashSet::from(["xmin_".to_owned()]);
        assert_eq!(usable_column("xmin", 0, &taken), "xmin__2");
        assert_eq!(usable_column("", 3, &taken), "column_4");
        assert_eq!(usable_column("2B", 0, &taken), "2B");
    }
}
