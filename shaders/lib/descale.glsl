// Factors of 8-bit floats: a code stands for its value times that of its tensor, its head, or its block of tokens. They lie in
// lists[]. Needs params.glsl and sequence.glsl.

// 0: there are none. 1: one for all tokens of a head, which scores and outputs can do with. 2: for blocks of descale_block tokens.
layout(constant_id = 13) const uint DESCALE = 0u;

// descale is the factor of a token, from the place of its head's on.
float descale(uint at, uint blocks, uint token) {
    return uintBitsToFloat(lists[at + (DESCALE == 2u ? min(token / descale_block, blocks - 1u) : 0u)]);
}

uint query_factors(Sequence seq, uint head) { return descale_q_list + seq.index * descale_q_batch + head * descale_q_blocks; }

// Where the factors of the keys and values of a row tile lie.
uint key_factors, value_factors;

void find_factors(Sequence seq, uint head) {
    if (DESCALE != 0u) {
        key_factors = descale_k_list + seq.index * descale_k_batch + kv_head(head, heads_k) * descale_k_blocks;
        value_factors = descale_v_list + seq.index * descale_v_batch + kv_head(head, heads_v) * descale_v_blocks;
    }
}

float key_factor(uint key) { return descale(key_factors, descale_k_blocks, key); }

float value_factor(uint key) { return descale(value_factors, descale_v_blocks, key); }
