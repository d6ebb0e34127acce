//! Expressions, as jmespath.org has them and as Kyverno does.
