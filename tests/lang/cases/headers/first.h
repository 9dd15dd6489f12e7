#define FIRST "it comes first"
