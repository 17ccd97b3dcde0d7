internal import Glibc
internal import Tensors

/// Cosines, then sines, of a number at falling frequencies: how the networks read time and guidance.
///
/// `cos(value * 10000^(-i / half))` for i below half = count / 2, then the sines. Frequencies and angles are rounded to
/// float32 as in training, where an angle near 1000 is only good to 3e-5; cosine and sine are of that rounded angle.
///
/// PyTorch's exponential (2.x on x86 processors) rounds two of FLUX's 128 frequencies one unit in the last place too high.
/// At a guidance of 3.5, an angle of 3500, that is 1e-4 rad, and moves a velocity by three times its own rounding; so they
/// are taken as the reference has them.
///
/// Source: diffusers `Timesteps` with `flip_sin_to_cos` and `downscale_freq_shift = 0`.
func sinusoids(of value: Float, count: Int) -> Tensor {
    let half = count / 2
    var result = Tensor(uninitialized: [count])
    for i in 0..<half {
        let exponent = -Float(9.210340371976184) * Float(i) / Float(half)
        var frequency = Float(exp(Double(exponent)))
        if half == 128 && (i == 12 || i == 106) { frequency = frequency.nextUp }
        let angle = value * frequency
        result[i] = Float(cos(Double(angle)))
        result[half + i] = Float(sin(Double(angle)))
    }
    return result
}

/// Some columns of a matrix, copied.
func columns(_ range: Range<Int>, of matrix: Tensor) -> Tensor {
    let (rows, width) = (matrix.shape[0], matrix.width)
    var result = Tensor(uninitialized: [rows, range.count])
    result.withUnsafeMutableBuffer { target in
        matrix.withUnsafeBuffer { source in
            for row in 0..<rows {
                let start = row * width
                for column in range { target[row * range.count + column - range.lowerBound] = source[start + column] }
            }
        }
    }
    return result
}
