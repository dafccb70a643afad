//! Sessions expire, are bounded and bound, and are held up by nobody.
