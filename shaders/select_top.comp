#version 450

// Which blocks of keys a row chooses: those that are forced, and of the others that it may choose those with the largest
// scores, top in all. Of equal scores the lowest block wins; a NaN is larger than every number. mask gets a byte for each block.
//
//   MoBA   score_n = in_n for n < own, forced own, with own = floor(t / block), t = i + off
//   NSA    score_n = sum over the weights in_c of compressed keys, times the pieces that c has in common with n, for n <= own;
//          forced 0, own, own - 1, in this order
//
// in [B,H,Sq,inputs], keys [B,H,Sq,blocks], scratch, mask [B,H,Sq,blocks in words of four], rows any stride apart. One workgroup
// has one row; in y are heads, in z sequences. The threshold is found bit by bit: of the scores as numbers that sort like
// them, then of the index among equals. Of a few blocks, each counts those before it.
// Shared memory: three counters.

layout(local_size_x_id = 0) in;

const uint RANKED = 64u;        // so few blocks are each counted against all others

layout(push_constant) uniform Slice {
    uint rows;              // of the area; 0: nothing to do
    uint blocks;            // of the longest sequence
    uint inputs;            // weights of a row, NSA
    uint top;
    uint block;             // keys of one
    uint pieces, overlap;   // of a block, and of a compressed key: Select/Stride and Compress/Stride; 0: MoBA
    uint in_batch, in_head, in_row;         // strides, in words
    uint keys_batch, keys_head, keys_row;
    uint mask_batch, mask_head, mask_row;
    uint in_base, keys_base, mask_base;     // of the first row of the area
    uint row_first, batch_first;
} slice;

layout(std430, set = 0, binding = 0) readonly buffer Lists { int lists[]; };    // a sequence: keys, off
layout(std430, set = 0, binding = 1) readonly buffer In { float in_data[]; };
layout(std430, set = 0, binding = 4) coherent buffer Keys { uint keys_data[]; };
layout(std430, set = 0, binding = 5) buffer Mask { uint mask_data[]; };

shared uint counters[3];
uint turn = 0u;

// Three counters in turn: one counts, the next is cleared, and the last may still be read. One barrier is then enough.
uint count_all(uint some) {
    uint now = turn % 3u;
    turn++;
    if (gl_LocalInvocationID.x == 0u) {
        counters[turn % 3u] = 0u;
    }
    if (some != 0u) {
        atomicAdd(counters[now], some);
    }
    barrier();
    return counters[now];
}

// sortable maps numbers to such that compare like them, from 1 on, and NaN to the largest.
uint sortable(float x) {
    uint u = floatBitsToUint(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) {
        return 0xffffffffu;
    }
    if ((u & 0x7fffffffu) == 0u) {
        return 0x80000000u;
    }
    return (u & 0x80000000u) != 0u ? ~u : u | 0x80000000u;
}

float score(uint in_row, uint n, uint inputs) {
    if (slice.pieces == 0u) {
        return in_data[in_row + n];
    }
    int pieces = int(slice.pieces), overlap = int(slice.overlap);
    int first = max(0, pieces * int(n) - overlap + 1), end = min(int(inputs), pieces * (int(n) + 1));
    float sum = 0.0;
    for (int c = first; c < end; c++) {
        int m = c - pieces * int(n);
        sum += float(min(pieces - 1, m + overlap - 1) - max(0, m) + 1) * in_data[in_row + uint(c)];
    }
    return sum;
}

void main() {
    uint row = gl_WorkGroupID.x;
    if (row >= slice.rows) {
        return;
    }
    if (gl_LocalInvocationID.x == 0u) {
        counters[0] = 0u;
    }
    barrier();
    uint in_row = slice.in_base + gl_WorkGroupID.z * slice.in_batch + gl_WorkGroupID.y * slice.in_head + row * slice.in_row;
    uint keys_row = slice.keys_base + gl_WorkGroupID.z * slice.keys_batch + gl_WorkGroupID.y * slice.keys_head + row * slice.keys_row;
    uint mask_row = slice.mask_base + gl_WorkGroupID.z * slice.mask_batch + gl_WorkGroupID.y * slice.mask_head + row * slice.mask_row;
    int keys = lists[2u * (slice.batch_first + gl_WorkGroupID.z)];
    int t = int(slice.row_first + row) + lists[2u * (slice.batch_first + gl_WorkGroupID.z) + 1u];
    int blocks = keys > 0 ? (keys - 1) / int(slice.block) + 1 : 0;

    // The forced blocks, -1 for none, and how many others there are to choose from and may be chosen.
    bool nsa = slice.pieces != 0u;
    int own = t < 0 ? -1 : min(t / int(slice.block), blocks);
    ivec3 forced = nsa && own >= 0 ? ivec3(0, own, own - 1) : ivec3(own, -1, -1);
    uint left = own < 0 ? 0u : slice.top;
    for (int f = 0; f < 3; f++) {
        bool again = f > 0 && forced[f] == forced[0] || f > 1 && forced[f] == forced[1];
        if (forced[f] >= blocks || again || left == 0u) {
            forced[f] = -1;
        }
        if (forced[f] >= 0) {
            left--;
        }
    }
    uint end = own < 0 ? 0u : uint(nsa ? min(own + 1, blocks) : own);

    uint others = 0u;
    for (uint n = gl_LocalInvocationID.x; n < end; n += gl_WorkGroupSize.x) {
        bool taken = any(equal(ivec3(int(n)), forced));
        keys_data[keys_row + n] = taken ? 0u : sortable(score(in_row, n, slice.inputs));
        others += taken ? 0u : 1u;
    }
    others = count_all(others);

    // Chosen are scores above the threshold, and those equal to it before an index.
    uint threshold = 0u, before = 0u;
    bool ranked = others > left && left != 0u && end <= RANKED;
    if (left == 0u) {
        threshold = 0xffffffffu;
    } else if (others > left && !ranked) {
        for (uint bit = 0x80000000u; bit != 0u; bit >>= 1) {
            uint some = 0u;
            for (uint n = gl_LocalInvocationID.x; n < end; n += gl_WorkGroupSize.x) {
                some += keys_data[keys_row + n] >= (threshold | bit) ? 1u : 0u;
            }
            if (count_all(some) >= left) {
                threshold |= bit;
            }
        }
        uint above = 0u;
        for (uint n = gl_LocalInvocationID.x; n < end; n += gl_WorkGroupSize.x) {
            above += keys_data[keys_row + n] > threshold ? 1u : 0u;
        }
        uint need = left - count_all(above);
        // The largest index with fewer than need equals before it, and one more.
        for (uint bit = 0x40000000u; bit != 0u; bit >>= 1) {
            if ((before | bit) >= end) {
                continue;
            }
            uint some = 0u;
            for (uint n = gl_LocalInvocationID.x; n < (before | bit); n += gl_WorkGroupSize.x) {
                some += keys_data[keys_row + n] == threshold ? 1u : 0u;
            }
            if (count_all(some) < need) {
                before |= bit;
            }
        }
        before++;
    }
    // Words of four blocks belong to several invocations' keys.
    memoryBarrierBuffer();
    barrier();
    for (uint word = gl_LocalInvocationID.x; word < (slice.blocks + 3u) / 4u; word += gl_WorkGroupSize.x) {
        uint bytes = 0u;
        for (uint b = 0u; b < 4u; b++) {
            uint n = 4u * word + b;
            bool keep = any(equal(ivec3(int(n)), forced));
            if (n < end && !keep) {
                uint key = keys_data[keys_row + n];
                keep = key > threshold || key == threshold && n < before;
                if (ranked) {
                    uint ahead = 0u;
                    for (uint m = 0u; m < end; m++) {
                        uint other = keys_data[keys_row + m];
                        ahead += other > key || other == key && m < n ? 1u : 0u;
                    }
                    keep = ahead < left;
                }
            }
            bytes |= keep ? 1u << (8u * b) : 0u;
        }
        mask_data[mask_row + word] = bytes;
    }
}
