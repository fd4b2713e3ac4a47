-- A memo as bytes that do not depend on the order of its entries: these in the order of their bytes, more than two each with
-- its length before it. An entry is a field of protobuf, 0x0a, its length in up to three bytes of seven bits, and its content;
-- what is none of that counts as it is, to the end.
CASE
  WHEN memo IS NULL OR LENGTH(memo) = 0 THEN NULL
  WHEN encoding <> 'Proto3' OR LENGTH(memo) < 4 OR GET_BYTE(memo, 1) + 2 = LENGTH(memo) THEN memo
  -- Two short entries, as most memos are that have more than one: no loop, which would take four times as long.
  WHEN GET_BYTE(memo, 1) < 128 AND GET_BYTE(memo, 1) + 4 <= LENGTH(memo) AND GET_BYTE(memo, GET_BYTE(memo, 1) + 2) = 10
    AND GET_BYTE(memo, GET_BYTE(memo, 1) + 3) < 128
    AND GET_BYTE(memo, 1) + GET_BYTE(memo, GET_BYTE(memo, 1) + 3) + 4 = LENGTH(memo)
    THEN CASE
      WHEN SUBSTRING(memo, 1, GET_BYTE(memo, 1) + 2) <= SUBSTRING(memo, GET_BYTE(memo, 1) + 3) THEN memo
      ELSE SUBSTRING(memo, GET_BYTE(memo, 1) + 3) || SUBSTRING(memo, 1, GET_BYTE(memo, 1) + 2)
    END
  ELSE (
    WITH RECURSIVE entry (start, size) AS (
      SELECT 0, 0
      UNION ALL
      SELECT start + size, CASE
        WHEN LENGTH(memo) - start - size < 4 OR GET_BYTE(memo, start + size) <> 10 THEN LENGTH(memo)
        WHEN GET_BYTE(memo, start + size + 1) < 128 THEN GET_BYTE(memo, start + size + 1) + 2
        WHEN GET_BYTE(memo, start + size + 2) < 128
          THEN GET_BYTE(memo, start + size + 1) - 128 + GET_BYTE(memo, start + size + 2) * 128 + 3
        WHEN GET_BYTE(memo, start + size + 3) < 128
          THEN GET_BYTE(memo, start + size + 1) - 128 + (GET_BYTE(memo, start + size + 2) - 128) * 128
            + GET_BYTE(memo, start + size + 3) * 16384 + 4
        ELSE LENGTH(memo)
      END
      FROM entry
      WHERE start + size < LENGTH(memo)
    )
    SELECT STRING_AGG(INT4SEND(size) || SUBSTRING(memo, start + 1, size), '' ORDER BY SUBSTRING(memo, start + 1, size))
    FROM entry
    WHERE size > 0
  )
END
