pub fn agree(_data: &[u8]) {}
