//! What is written to a cluster, against an API server in memory.

mod api_server;
mod events;
mod reports;
mod telling;
