//! Variables of the environment in texts of the job file.

use crate::error::{Error, ErrorKind, Result};

/// Replaces `${NAME}` in a text by what `lookup` knows; `what` the text is belongs into errors, the text does not.
///
/// # Errors
/// [`ErrorKind::Config`] naming the variable that is missing, or an opening `${` without its end.
pub(super) fn substitute(text: &str, what: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String> {
    let (mut whole, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start + 2..].find('}') else {
            return Err(Error::new(ErrorKind::Config, format!("the {what} has an opening ${{ without its closing }}")));
        };
        let name = &rest[start + 2..start + 2 + length];
        let value = lookup(name).ok_or_else(|| {
            Error::new(ErrorKind::Config, format!("the {what} needs the environment variable {name}, which is not set"))
        })?;
        whole.push_str(&rest[..start]);
        whole.push_str(&value);
        rest = &rest[start + 2 + length + 1..];
    }
    whole.push_str(rest);
    Ok(whole)
}
