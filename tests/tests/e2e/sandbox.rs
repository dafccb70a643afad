//! Sandbox sessions, end to end: tools on the wire, real containers behind them.

mod docker;
