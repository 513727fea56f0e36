#include "csrc/api/cpu_values.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <vector>

#include "csrc/api/text.h"

namespace hogwild::api {
namespace {

void check_slots(const char* op, const char* name, const int64_t* slots, int count, const Cache& cache) {
    const int64_t num_slots = int64_t{cache.num_pages} * cache.page_size;
    for (int i = 0; i < count; ++i) {
        HOGWILD_CHECK_VALUE(slots[i] < num_slots, op, ": ", name, "[", i, "] is ", slots[i],
                            "; expected less than ", num_slots, " (", cache.num_pages, " pages of ",
                            cache.page_size, ")");
    }
}

// The slots of some entries, ascending.
std::vector<int64_t> sorted_slots(const int64_t* slots, const std::vector<int>& entries) {
    std::vector<int64_t> sorted;
    sorted.reserve(entries.size());
    for (int i : entries) sorted.push_back(slots[i]);
    std::sort(sorted.begin(), sorted.end());
    return sorted;
}

// Which of two entries would win depends on threads, so neither does.
void check_written_once(const char* op, const char* name, const int64_t* slots,
                        const std::vector<int>& entries) {
    const std::vector<int64_t> written = sorted_slots(slots, entries);
    const auto twice = std::adjacent_find(written.begin(), written.end());
    if (twice == written.end()) return;
    std::vector<int> places;
    for (int i : entries) {
        if (slots[i] == *twice) places.push_back(i);
    }
    HOGWILD_CHECK_VALUE(false, op, ": ", name, "[", places[1], "] is ", *twice, ", as is ", name, "[",
                        places[0], "]; expected no slot to be written twice");
}

void check_offsets(const char* name, const int32_t* offsets, int num_groups, int count, const char* what) {
    HOGWILD_CHECK_VALUE(offsets[0] >= 0, "attention: ", name, "[0] is ", offsets[0], "; expected 0 or more");
    for (int group = 0; group < num_groups; ++group) {
        HOGWILD_CHECK_VALUE(offsets[group] <= offsets[group + 1], "attention: ", name, "[", group + 1,
                            "] is ", offsets[group + 1], " after ", offsets[group],
                            "; expected ascending offsets");
    }
    HOGWILD_CHECK_VALUE(offsets[num_groups] <= count, "attention: ", name, "[", num_groups, "] is ",
                        offsets[num_groups], "; expected at most the number of ", what, ", ", count);
}

void check_block(const AttentionParams& params, int block) {
    const Cache& cache = params.cache;
    const int64_t length = params.block_lens[block];
    const int64_t capacity = int64_t{params.max_pages} * cache.page_size;
    HOGWILD_CHECK_VALUE(length >= 0 && length <= capacity, "attention: block_lens[", block, "] is ", length,
                        "; expected 0 to ", capacity, " (", params.max_pages, " pages of ", cache.page_size,
                        " in block_table)");
    const int32_t* pages = params.block_table + int64_t{block} * params.max_pages;
    for (int64_t page = 0; page * cache.page_size < length; ++page) {
        HOGWILD_CHECK_VALUE(pages[page] >= 0 && pages[page] < cache.num_pages, "attention: block_table[",
                            block, ", ", page, "] is ", pages[page], "; expected a page from 0 to ",
                            cache.num_pages - 1, " (the block has ", length, " tokens)");
    }
}

}  // namespace

void check_values(const AppendParams& params) {
    check_slots("append", "slots", params.slots, params.num_tokens, params.cache);
    std::vector<int> entries;
    entries.reserve(params.num_tokens);
    for (int i = 0; i < params.num_tokens; ++i) {
        if (params.slots[i] >= 0) entries.push_back(i);
    }
    check_written_once("append", "slots", params.slots, entries);
}

void check_values(const AttentionParams& params) {
    check_offsets("group_tokens", params.group_tokens, params.num_groups, params.num_tokens, "tokens");
    check_offsets("group_blocks", params.group_blocks, params.num_groups, params.num_blocks, "blocks");
    for (int block = 0; block < params.num_blocks; ++block) check_block(params, block);
    for (int group = 0; group < params.num_groups; ++group) {
        const int num_blocks = params.group_blocks[group + 1] - params.group_blocks[group];
        HOGWILD_CHECK_VALUE(num_blocks <= params.num_columns, "attention: query_pos has ", params.num_columns,
                            " columns; expected at least the ", num_blocks, " blocks of group ", group);
        for (int token = params.group_tokens[group]; token < params.group_tokens[group + 1]; ++token) {
            const int own = params.own_block[token];
            HOGWILD_CHECK_VALUE(own >= -1 && own < num_blocks, "attention: own_block[", token, "] is ", own,
                                "; expected -1 or one of the ", num_blocks, " blocks of group ", group);
        }
    }
}

void check_values(const MoveParams& params) {
    check_slots("move", "src_slots", params.src_slots, params.num_entries, params.cache);
    check_slots("move", "dst_slots", params.dst_slots, params.num_entries, params.cache);
    std::vector<int> entries;
    entries.reserve(params.num_entries);
    for (int i = 0; i < params.num_entries; ++i) {
        if (params.src_slots[i] >= 0 && params.dst_slots[i] >= 0) entries.push_back(i);
    }
    const std::vector<int64_t> sources = sorted_slots(params.src_slots, entries);
    for (int i : entries) {
        HOGWILD_CHECK_VALUE(!std::binary_search(sources.begin(), sources.end(), params.dst_slots[i]),
                            "move: dst_slots[", i, "] is ", params.dst_slots[i],
                            ", which is in src_slots too; expected separate slots");
    }
    check_written_once("move", "dst_slots", params.dst_slots, entries);
}

}  // namespace hogwild::api
