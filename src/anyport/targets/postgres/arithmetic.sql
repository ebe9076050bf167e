-- Doubles as IEEE 754 has them: what PostgreSQL raises as an overflow is infinity here, what it raises as an underflow
-- is zero, and what is no number is null. Operands are scaled to 2^-400 .. 2^400 before they are tried.
create or replace function {add}(a double precision, b double precision) returns double precision
language plpgsql immutable strict parallel safe as {tag}
declare
  half double precision;
begin
  if abs(a) = 'Infinity' or abs(b) = 'Infinity' then
    return nullif(a + b, 'NaN');
  elsif abs(a) < 4e307 and abs(b) < 4e307 then
    return a + b;
  elsif abs(a) < 1 then
    return b;
  elsif abs(b) < 1 then
    return a;
  end if;
  half := a * 0.5 + b * 0.5;
  if abs(half) >= 8.98846567431158e307 then
    return sign(half) * 'Infinity'::double precision;
  end if;
  return a + b;
end {tag};

create or replace function {mul}(a double precision, b double precision) returns double precision
language plpgsql immutable strict parallel safe as {tag}
declare
  big constant double precision := 2.582249878086909e120;
  x double precision := abs(a);
  y double precision := abs(b);
  k integer := 0;
begin
  if x = 0 or y = 0 or x = 'Infinity' or y = 'Infinity' then
    return nullif(a * b, 'NaN');
  end if;
  if x > big then x := x * {down}; k := k + 1; elsif x < 1 / big then x := x * {up}; k := k - 1; end if;
  if y > big then y := y * {down}; k := k + 1; elsif y < 1 / big then y := y * {up}; k := k - 1; end if;
  if (k = 1 and x * y >= {over_1}) or (k = 2 and x * y >= {over_2}) then
    return sign(a) * sign(b) * 'Infinity'::double precision;
  elsif (k = -1 and x * y <= {under_1}) or (k = -2 and x * y <= {under_2}) then
    return 0;
  end if;
  return a * b;
end {tag};

create or replace function {div}(a double precision, b double precision) returns double precision
language plpgsql immutable strict parallel safe as {tag}
declare
  big constant double precision := 2.582249878086909e120;
  x double precision := abs(a);
  y double precision := abs(b);
  k integer := 0;
begin
  if y = 'Infinity' then
    return case when x < y then 0 end;
  elsif x = 0 then
    return case when y > 0 then 0 end;
  elsif y = 0 then
    return sign(a) * 'Infinity'::double precision;
  elsif x = 'Infinity' then
    return a * sign(b);
  end if;
  if x > big then x := x * {down}; k := k + 1; elsif x < 1 / big then x := x * {up}; k := k - 1; end if;
  if y > big then y := y * {down}; k := k - 1; elsif y < 1 / big then y := y * {up}; k := k + 1; end if;
  if (k = 1 and x / y >= {over_1}) or (k = 2 and x / y >= {over_2}) then
    return sign(a) * sign(b) * 'Infinity'::double precision;
  elsif (k = -1 and x / y <= {under_1}) or (k = -2 and x / y <= {under_2}) then
    return 0;
  end if;
  return a / b;
end {tag};
