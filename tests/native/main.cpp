// Tests of csrc/cpu without torch; the tests of the Python package go deeper.
#include "check.h"

void test_append();
void test_attention();
void test_dtypes();
void test_move();
void test_rotation_table();

int main() {
    test_append();
    test_attention();
    test_dtypes();
    test_move();
    test_rotation_table();
    std::printf(failures == 0 ? "all passed\n" : "%d checks failed\n", failures);
    return failures == 0 ? 0 : 1;
}
