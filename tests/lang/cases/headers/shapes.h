/* What a program's own headers may have. */
#pragma once
#ifndef SHAPES_H
#define SHAPES_H

#include "colors.h"

#define CORNERS \
  4

typedef unsigned short tally_t;

struct point {
  int x, y;
};

struct line {
  struct point begin;
  struct point end;
  enum color color;
};

typedef struct {
  struct line sides[CORNERS];
  tally_t count;
} shape_t;

extern struct line lines[];
int draw(const struct line *of, void (*each)(struct point));

static inline struct line *first(void) {
  if (CORNERS) {
    return lines;
  }
  return 0;
}

#endif
