//! Claims about a deserialized machine. The first false claim names the field that contradicts other fields.

/// A claim about fields of a machine, with the name of the contradicting field.
pub(crate) type Claim = (&'static str, bool);

/// The name of the first claim that is false.
pub(crate) fn first_false<const N: usize>(claims: [Claim; N]) -> Option<&'static str> {
    claims.into_iter().find(|(_, is_true)| !is_true).map(|(name, _)| name)
}
