/// Type of the values in a checkpoint, named as safetensors names it.
package enum ElementType: String, Sendable, CaseIterable {
    /// IEEE double precision.
    case f64 = "F64"
    /// IEEE single precision.
    case f32 = "F32"
    /// IEEE half precision.
    case f16 = "F16"
    /// The upper half of single precision.
    case bf16 = "BF16"
    /// Eight bits: sign, 4 of exponent, 3 of mantissa, no infinities.
    case f8e4m3 = "F8_E4M3"
    /// Eight bits: sign, 5 of exponent, 2 of mantissa.
    case f8e5m2 = "F8_E5M2"
    /// Signed, 64 bits.
    case i64 = "I64"
    /// Signed, 32 bits.
    case i32 = "I32"
    /// Signed, 16 bits.
    case i16 = "I16"
    /// Signed, 8 bits.
    case i8 = "I8"
    /// Unsigned, 64 bits.
    case u64 = "U64"
    /// Unsigned, 32 bits.
    case u32 = "U32"
    /// Unsigned, 16 bits.
    case u16 = "U16"
    /// Unsigned, 8 bits.
    case u8 = "U8"
    /// One byte, 0 or 1.
    case bool = "BOOL"

    /// Bytes of one value.
    package var size: Int {
        switch self {
        case .f64, .i64, .u64: 8
        case .f32, .i32, .u32: 4
        case .f16, .bf16, .i16, .u16: 2
        case .f8e4m3, .f8e5m2, .i8, .u8, .bool: 1
        }
    }
}
