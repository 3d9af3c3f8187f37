// What changes from dispatch to dispatch: which row tiles and keys, and where the bound windows start.

layout(push_constant) uniform Slice {
    uint tile_first;    // flat index of the first row tile, over sequences, heads and tiles
    uint tile_count;
    int key_first;      // keys [key_first, key_end) of every sequence; of every part if the keys are split
    int key_end;
    int part_keys;      // keys of one part of a split; a row's stride in the unfused kernels
    uint part_first;    // part of the first workgroup in z
    uint phase;         // PHASE_*
    uint state_base;    // where the running state lies in state[]
    int row_first;      // rows [row_first, row_end) of every sequence; the others are left alone
    int row_end;
    uint q_base, k_base, v_base, out_base, lse_base, bias_base, mask_base;
} slice;

const uint PHASE_RESUME = 1u;   // take up the running state of an earlier slice
const uint PHASE_SUSPEND = 2u;  // leave the running state for a later slice
const uint PHASE_PARTIAL = 4u;  // write a part's result for merge
const uint PHASE_ITEMS = 8u;    // tile_first and tile_count count items, or joined row tiles in merge
const uint PHASE_LEAVE = 16u;   // lse [B,Hq,Sq,2] gets the maximum and sum of a row's keys, for a call of the same rows that joins them
const uint PHASE_JOIN = 32u;    // bias [B,Hq,Sq,2] is what such a call has left, mask [B,Hq,Sq,Dv] its result
