//! Reshape: the same data in a layout that needs less memory. (head to be written)

pub mod codec;
pub mod layout;
pub mod template;
