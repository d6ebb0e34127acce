//! Builds: isolated ones whose provenance the build cannot forge, and provenance of builds that were made elsewhere.
