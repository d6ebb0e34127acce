//! Names of checks, as both engines have them.

/// Defines `CheckName`: what an engine checks, in the order in which a report lists it, each with its stable name.
#[macro_export]
macro_rules! check_names {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)*) => {
        /// What is checked, in the order in which a report lists it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum CheckName {
            $($(#[$doc])* $variant,)*
        }

        impl CheckName {
            /// The stable name, in snake case.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }

        impl std::fmt::Display for CheckName {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.code())
            }
        }
    };
}
