// The lists of PHASE_ITEMS. Needs params.glsl.

// An item is what one workgroup computes: of a flat row tile (x) the key tiles [y, z), into slot w of the partial results.
uvec4 item_at(uint n) {
    uint at = item_list + 4u * n;
    return uvec4(lists[at], lists[at + 1u], lists[at + 2u], lists[at + 3u]);
}

// A joined row tile: flat index, first slot, parts.
uvec3 joined_at(uint n) {
    uint at = joined_list + 3u * n;
    return uvec3(lists[at], lists[at + 1u], lists[at + 2u]);
}
