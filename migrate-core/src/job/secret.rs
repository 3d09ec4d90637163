//! Texts of a job that are nobody's business.

use super::variables;
use crate::error::{Error, ErrorKind, Result as CoreResult};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What a secret is printed and recorded as.
const HIDDEN: &str = "***";

/// A text that is not to be seen, such as a key. `Debug`, `Display` and serialization show `***` in its place, unless it only names a
/// variable of the environment, `${NAME}`; [`Secret::expose`] does not.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// Returns the text as it is.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the text with `${NAME}` replaced by what `lookup` knows; errors call it `what`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] naming the variable that is missing, or an opening `${` without its end; or if nothing is left.
    pub(crate) fn substitute(&self, what: &str, lookup: &dyn Fn(&str) -> Option<String>) -> CoreResult<Self> {
        let text = variables::substitute(&self.0, what, lookup)?;
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Config, format!("the {what}, {self}, is empty")));
        }
        Ok(Secret(text))
    }

    /// Returns whether the text was read back from where it was hidden, and is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.0 == HIDDEN
    }

    /// Returns whether the text is `${NAME}` and nothing else.
    fn is_variable(&self) -> bool {
        let name = self.0.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_variable() { &self.0 } else { HIDDEN })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The parser's own error would show what stands there.
        String::deserialize(deserializer).map(Secret).map_err(|_| D::Error::custom("a secret must be a text, in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_secret_shows_it_and_the_name_of_a_variable_is_none() {
        for (text, shown) in [
            ("hunter2", "***"),
            ("", "***"),
            ("${KEY_1}", "${KEY_1}"),
            ("${KEY} hunter2", "***"),
            ("${hunter2", "***"),
            ("${KEY}hunter2}", "***"),
            ("${hunter-2}", "***"),
        ] {
            let secret = Secret::new(text);
            assert_eq!(secret.to_string(), shown, "{text}");
            assert_eq!(format!("{secret:?}"), format!("Secret({shown})"));
            assert_eq!(serde_json::to_value(&secret).expect("it serializes"), shown);
            assert_eq!(secret.expose(), text);
        }
        let error = serde_json::from_str::<Secret>("2002").expect_err("a number is no text").to_string();
        assert!(!error.contains("2002"), "{error}");
    }
}
