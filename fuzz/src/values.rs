pub fn values(_data: &[u8]) {}
