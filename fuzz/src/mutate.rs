pub fn mutate(data: &mut [u8], size: usize, max_size: usize, _seed: u32, default: fn(&mut [u8], usize, usize) -> usize) -> usize { default(data, size, max_size) }
